"""Everything durable, behind Protocols with written contracts: bus, objects, control, keys."""
