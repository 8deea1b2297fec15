"""From audio to transcripts: batched decoding and the `Transcriber`."""
