package main

// What this release is. The demonstration changes these two lines.
const (
	version = "v1"
	broken  = false
)
