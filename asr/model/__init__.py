"""The dialect-aware Whisper: features, encoder of any length, masked decoder, adaptation, checkpoint."""
