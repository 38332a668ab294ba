package meter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const (
	maxFileBytes = 100 << 20
	keptFiles    = 4 // besides the one that is written
)

// logFile is a file that makes room for itself when it is full. While the balancer hands over to its successor, both
// processes write the same file, and either may rotate it: whole lines are appended with one call, and a file that the
// other has moved away already is not rotated again.
type logFile struct {
	path string
	most int64 // bytes
	f    *os.File
	torn bool // its last line is not whole: the disk was full
}

func openLogFile(path string, most int64) (*logFile, error) {
	l := &logFile{path: path, most: most}
	return l, l.reopen()
}

// reopen goes on with the file that has the name now, and keeps the old one when there is none to be had.
func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	old := l.f
	l.f, l.torn = f, false
	if old != nil {
		// Its lines were written without buffering; closing a file for appending has nothing more to say.
		_ = old.Close()
	}
	return nil
}

func (l *logFile) close() error { return l.f.Close() }

// write appends whole lines, and tells how many bytes of them are in the file after an error.
func (l *logFile) write(lines []byte) (int, error) {
	if err := l.makeRoom(int64(len(lines))); err != nil {
		return 0, err
	}
	if l.torn {
		if _, err := l.f.WriteString("\n"); err != nil {
			return 0, err
		}
		l.torn = false
	}
	n, err := l.f.Write(lines)
	l.torn = n > 0 && lines[n-1] != '\n'
	return n, err
}

// makeRoom rotates when the file has no room for so many bytes, and finds it again when it was moved or removed.
func (l *logFile) makeRoom(bytes int64) error {
	own, err := l.f.Stat()
	if err != nil {
		return fmt.Errorf("look at log file: %w", err)
	}
	named, err := os.Stat(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(own, named):
		return l.reopen()
	case err != nil:
		return fmt.Errorf("look at log file: %w", err)
	case own.Size() == 0 || own.Size()+bytes <= l.most:
		return nil
	}
	for i := keptFiles; i > 0; i-- {
		from := l.path
		if i > 1 {
			from = l.rotated(i - 1)
		}
		if err := os.Rename(from, l.rotated(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log file: %w", err)
		}
	}
	return l.reopen()
}

func (l *logFile) rotated(n int) string { return fmt.Sprintf("%s.%d", l.path, n) }
