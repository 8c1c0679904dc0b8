"""What travels and what is stored: events, topics, codec, keys, records, writes, errors, settings, metric names. No I/O."""
