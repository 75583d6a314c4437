// Measures Tessera's POSIX driver: how fast entries are appended and integrated, and how long one takes to be covered by
// a published checkpoint.
//
//	tessera-peer FOLDER COUNT TRICKLES
//
// Prints one JSON object. COUNT entries of 118 bytes are added with 4,096 under way; then TRICKLES batches of ten, one
// every 20 ms.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	entryBytes = 118
	underWay   = 4096
)

type result struct {
	Sequenced  float64 `json:"sequenced_seconds"`
	Integrated float64 `json:"integrated_seconds"`
	P50        float64 `json:"p50_seconds"`
	P99        float64 `json:"p99_seconds"`
}

func entry() *tessera.Entry {
	data := make([]byte, entryBytes)
	if _, err := rand.Read(data); err != nil {
		panic(err)
	}
	return tessera.NewEntry(data)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func size(checkpoint []byte) uint64 {
	lines := strings.SplitN(string(checkpoint), "\n", 3)
	if len(lines) < 3 {
		return 0
	}
	return must(strconv.ParseUint(lines[1], 10, 64))
}

func main() {
	ctx := context.Background()
	count := must(strconv.Atoi(os.Args[2]))
	trickles := must(strconv.Atoi(os.Args[3]))
	private, _, err := note.GenerateKey(rand.Reader, "tessera.example/log")
	if err != nil {
		panic(err)
	}
	signer := must(note.NewSigner(private))
	driver := must(posix.New(ctx, posix.Config{Path: os.Args[1]}))
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(tessera.DefaultBatchMaxSize, tessera.DefaultBatchMaxAge).
		WithCheckpointInterval(100 * time.Millisecond).
		WithPushback(2 * underWay)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		panic(err)
	}
	covered := func(index uint64) {
		for {
			if checkpoint, err := reader.ReadCheckpoint(ctx); err == nil && size(checkpoint) > index {
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	}

	var found result
	began := time.Now()
	slots := make(chan struct{}, underWay)
	var all sync.WaitGroup
	var lock sync.Mutex
	last := uint64(0)
	for range count {
		slots <- struct{}{}
		all.Add(1)
		future := appender.Add(ctx, entry())
		go func() {
			defer all.Done()
			index := must(future())
			lock.Lock()
			last = max(last, index.Index)
			lock.Unlock()
			<-slots
		}()
	}
	all.Wait()
	found.Sequenced = time.Since(began).Seconds()
	covered(last)
	found.Integrated = time.Since(began).Seconds()

	waits := make([]float64, trickles)
	var trickling sync.WaitGroup
	for number := range trickles {
		at := time.Now()
		var futures [10]tessera.IndexFuture
		for i := range futures {
			futures[i] = appender.Add(ctx, entry())
		}
		trickling.Add(1)
		go func() {
			defer trickling.Done()
			highest := uint64(0)
			for _, future := range futures {
				highest = max(highest, must(future()).Index)
			}
			covered(highest)
			waits[number] = time.Since(at).Seconds()
		}()
		time.Sleep(20 * time.Millisecond)
	}
	trickling.Wait()
	sort.Float64s(waits)
	found.P50, found.P99 = waits[len(waits)/2], waits[len(waits)*99/100]
	if err := shutdown(ctx); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
