package process

import (
	"io"
	"os"
	"strings"
)

const (
	maxWords = 64 << 10 // bytes of a log that are looked through
	maxWord  = 300      // bytes of the line that is given
)

// words gives the line of a log that says best why a program ended, of what it wrote from an offset on: where a Go program
// has panicked, the line that says so, else the last one. "" when there is none.
func words(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.NewSectionReader(f, from, maxWords))
	if err != nil {
		return ""
	}
	best := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		best = line
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			break
		}
	}
	if len(best) > maxWord {
		best = strings.ToValidUTF8(best[:maxWord], "") + "…"
	}
	return best
}
