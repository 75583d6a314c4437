"""The signer: turns shards of the bus into signed, tiled transparency logs."""
