"""Files: opened in one way, put in place whole, and JSON documents of dataclasses."""
