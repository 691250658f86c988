"""What the API does to a body before it is stored: decode, default, validate, admit."""
