package shimlog

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const closedName = "closed"

// Writer writes a log directory. It never gives up on its input: what cannot be written is counted, thrown away, and
// told in the log once writing works again, since a full disk must not stop a container.
type Writer struct {
	dir      string
	maxSize  int64
	maxFiles int

	mu     sync.Mutex
	file   *os.File
	number int
	size   int64
	lost   int // records that could not be written
	buf    []byte
}

// Create makes the directory, if it is not there, and a writer that goes on after its last file. maxSize is the most
// bytes of a file (a record is never split over two), maxFiles the most files that are kept.
func Create(dir string, maxSize int64, maxFiles int) (*Writer, error) {
	if maxSize <= 0 || maxFiles <= 0 {
		return nil, fmt.Errorf("create log %s: size %d and files %d must be positive", dir, maxSize, maxFiles)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, closedName)); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("create log: %w", err)
	}
	w := &Writer{dir: dir, maxSize: maxSize, maxFiles: maxFiles}
	numbers, err := files(dir)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	if len(numbers) > 0 {
		// A writer that was killed may have left half a record at the end: leave that file as it is.
		w.number = numbers[len(numbers)-1]
	}
	if err := w.next(); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	return w, nil
}

// Copy writes what r gives, line by line, until it ends. A last line without a newline is written too, as a
// partial one.
func (w *Writer) Copy(stream string, r io.Reader) error {
	buf := make([]byte, MaxText)
	held := 0 // bytes at the start of buf that are not written yet
	for {
		n, err := r.Read(buf[held:])
		held += n
		if n > 0 {
			used := w.write(stream, buf[:held])
			held = copy(buf, buf[used:held])
		}
		if err != nil {
			if held > 0 {
				w.append(time.Now(), stream, [][]byte{buf[:held]}, true)
			}
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

// write writes the whole lines of b, or all of it as a partial one when it is full, and gives how much it has used.
func (w *Writer) write(stream string, b []byte) int {
	now := time.Now()
	if len(b) == MaxText && bytes.IndexByte(b, '\n') < 0 {
		w.append(now, stream, [][]byte{b}, true)
		return len(b)
	}
	var lines [][]byte
	used := 0
	for {
		i := bytes.IndexByte(b[used:], '\n')
		if i < 0 {
			break
		}
		lines = append(lines, b[used:used+i])
		used += i + 1
	}
	if len(lines) > 0 {
		w.append(now, stream, lines, false)
	}
	return used
}

// append writes records in as few system calls as rotation allows.
func (w *Writer) append(at time.Time, stream string, lines [][]byte, partial bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost > 0 {
		note := fmt.Appendf(nil, "[ikada: %d lines of output could not be written and are lost]", w.lost)
		w.buf = appendRecord(w.buf[:0], at, Stderr, note, false)
		if w.flush(0) {
			w.lost = 0
		}
	}
	w.buf = w.buf[:0]
	held := 0
	for _, line := range lines {
		before := len(w.buf)
		w.buf = appendRecord(w.buf, at, stream, line, partial)
		held++
		if w.size+int64(len(w.buf)) > w.maxSize && before > 0 {
			last := slices.Clone(w.buf[before:])
			w.buf = w.buf[:before]
			w.flush(held - 1)
			w.buf = append(w.buf[:0], last...)
			held = 1
		}
	}
	w.flush(held)
}

// flush writes the buffered records, n in number, after making room for them.
func (w *Writer) flush(n int) bool {
	if len(w.buf) == 0 {
		return true
	}
	if w.file == nil || (w.size > 0 && w.size+int64(len(w.buf)) > w.maxSize) {
		if err := w.next(); err != nil {
			w.lost += n
			return false
		}
	}
	m, err := w.file.Write(w.buf)
	if err != nil {
		// Take back the half that was written, so that what follows is readable.
		if m > 0 && w.file.Truncate(w.size) != nil {
			w.file.Close()
			w.file = nil
		}
		w.lost += n
		return false
	}
	w.size += int64(m)
	return true
}

// next starts the next file and removes those that are too many.
func (w *Writer) next() error {
	f, err := os.OpenFile(filepath.Join(w.dir, fileName(w.number+1)), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.size = f, 0
	w.number++
	numbers, err := files(w.dir)
	if err != nil {
		return nil //nolint:nilerr // the log grows until the directory can be read again
	}
	for _, n := range numbers {
		if n <= w.number-w.maxFiles {
			os.Remove(filepath.Join(w.dir, fileName(n)))
		}
	}
	return nil
}

// Close closes the file. The log is not marked as closed: see [MarkClosed].
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// MarkClosed tells readers that follow the log that no more will come. A directory that is missing is no error.
func MarkClosed(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, closedName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	return f.Close()
}

func fileName(n int) string { return fmt.Sprintf("%06d.log", n) }

// files gives the numbers of the files, ascending.
func files(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
