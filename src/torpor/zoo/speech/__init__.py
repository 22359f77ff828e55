"""Speech recognizers: small configurations of Whisper."""
