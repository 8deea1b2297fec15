"""`asr serve`: recordings and live speech in over HTTP and WebSocket, transcripts out, in OpenAI's forms and ours."""
