// Package audit owns the audit log: a file of JSON lines in the data directory that says who called what, and what
// became of it.
//
// A record is written before its call is answered, so an ikada that is killed loses none of what it answered; it is
// flushed to the disk within a second. The log is bounded by size and age: full files are put aside under the time
// at which that was, and the oldest are removed. It never holds what requests carried, and decides nothing. A [Log] is
// safe for concurrent use. Start at [Open].
package audit

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// What is taken where Config is silent.
const (
	DefaultMaxBytes = 16 << 20
	DefaultMaxFiles = 10
	DefaultMaxAge   = 365 * 24 * time.Hour
)

const (
	current      = "audit.log"
	asideBegin   = "audit-"
	asideEnd     = ".log"
	asideLayout  = "20060102T150405.000000000"
	syncInterval = time.Second
	maxLine      = 1 << 20 // bytes; a longer one is damage
)

// Config says where the log is and how large it may grow.
type Config struct {
	Dir      string           // of the files, made when it is not there
	MaxBytes int64            // of a file; 0 is DefaultMaxBytes
	MaxFiles int              // put aside; 0 is DefaultMaxFiles
	MaxAge   time.Duration    // of the last record of a file put aside; 0 is DefaultMaxAge
	Now      func() time.Time // nil is time.Now
	Log      *slog.Logger
}

// Log is an open audit log.
type Log struct {
	cfg Config

	mu     sync.Mutex
	file   *os.File
	size   int64
	dirty  bool // something is written that may not be on the disk
	failed bool // the last record could not be written
}

// Open opens the log of a directory. A line that a crash cut off is ended, so that the next one is whole.
func Open(cfg Config) (*Log, error) {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.MaxFiles = cmp.Or(cfg.MaxFiles, DefaultMaxFiles)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, DefaultMaxAge)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{cfg: cfg}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// open opens the current file to append to it.
func (l *Log) open() error {
	f, err := os.OpenFile(filepath.Join(l.cfg.Dir, current), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			_, err = f.Write([]byte{'\n'})
			size++
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open audit log: %w", err), f.Close())
	}
	l.file, l.size = f, size
	return nil
}

// Record writes a record. What cannot be written is told to the program's log: the call itself is under way.
func (l *Log) Record(r api.AuditRecord) {
	line, err := json.Marshal(r)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		err = l.write(append(line, '\n'))
	}
	if failed := err != nil; failed != l.failed {
		l.failed = failed
		if failed {
			l.cfg.Log.Error("audit log cannot be written", "error", err)
		} else {
			l.cfg.Log.Info("audit log is written again")
		}
	}
}

func (l *Log) write(line []byte) error {
	if l.file == nil {
		return errors.New("write audit log: it is closed")
	}
	if l.size > 0 && l.size+int64(len(line)) > l.cfg.MaxBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	l.dirty = true
	if err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	return nil
}

// rotate puts the current file aside, begins a new one and removes those that are too many or too old.
func (l *Log) rotate() error {
	aside := asideBegin + l.cfg.Now().UTC().Format(asideLayout) + asideEnd
	if err := os.Rename(filepath.Join(l.cfg.Dir, current), filepath.Join(l.cfg.Dir, aside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put audit log aside: %w", err)
	}
	old := l.file
	if err := l.open(); err != nil {
		return err
	}
	if err := errors.Join(old.Sync(), old.Close()); err != nil {
		return fmt.Errorf("put audit log aside: %w", err)
	}
	return l.tidy()
}

// tidy removes files that are too many or too old. Their names tell when their last record was written.
func (l *Log) tidy() error {
	names, err := l.aside()
	if err != nil {
		return err
	}
	oldest := asideBegin + l.cfg.Now().Add(-l.cfg.MaxAge).UTC().Format(asideLayout)
	for i, name := range names {
		if len(names)-i > l.cfg.MaxFiles || name < oldest {
			if err := os.Remove(filepath.Join(l.cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("tidy audit log: %w", err)
			}
		}
	}
	return nil
}

// aside gives the files that were put aside, the oldest first.
func (l *Log) aside() ([]string, error) {
	entries, err := os.ReadDir(l.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list audit log: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), asideBegin) && strings.HasSuffix(e.Name(), asideEnd) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Run flushes the log to the disk every second until ctx ends, then once more, and gives nil.
func (l *Log) Run(ctx context.Context) error {
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	hourly := time.NewTicker(time.Hour)
	defer hourly.Stop()
	for {
		select {
		case <-ctx.Done():
			l.flush()
			return nil
		case <-ticker.C:
			l.flush()
		case <-hourly.C:
			l.mu.Lock()
			err := l.tidy()
			l.mu.Unlock()
			if err != nil {
				l.cfg.Log.Warn("audit log is not tidied", "error", err)
			}
		}
	}
}

// flush brings what was written to the disk. Records are not held up meanwhile.
func (l *Log) flush() {
	l.mu.Lock()
	file, dirty := l.file, l.dirty
	l.dirty = false
	l.mu.Unlock()
	if !dirty || file == nil {
		return
	}
	if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // one put aside was flushed then
		l.cfg.Log.Warn("audit log is not flushed", "error", err)
	}
}

// Close closes the log; later records are lost.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	return err
}

// Read gives records, the oldest first. A line that is damaged is left out.
func (l *Log) Read(ctx context.Context, q api.AuditQuery) ([]api.AuditRecord, error) {
	files, err := l.files()
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	out := []api.AuditRecord{}
	for _, f := range slices.Backward(files) { // from the newest on, until there are enough
		part, err := readFile(ctx, f, q)
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		out = append(part, out...)
		if q.Limit > 0 && len(out) >= q.Limit {
			return out[len(out)-q.Limit:], nil
		}
	}
	return out, nil
}

// files opens every file of the log, the oldest first; none is put aside meanwhile.
func (l *Log) files() ([]*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	names, err := l.aside()
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, name := range append(names, current) {
		f, err := os.Open(filepath.Join(l.cfg.Dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// readFile gives the records of one file that the query chooses, at most the last Limit of them.
func readFile(ctx context.Context, f *os.File, q api.AuditQuery) ([]api.AuditRecord, error) {
	var out []api.AuditRecord
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var r api.AuditRecord
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.Time.Before(q.Since) {
			continue
		}
		out = append(out, r)
		if q.Limit > 0 && len(out) >= 2*q.Limit {
			out = slices.Clone(out[len(out)-q.Limit:]) // what is left behind may be collected
		}
	}
	if q.Limit > 0 && len(out) > q.Limit {
		out = out[len(out)-q.Limit:]
	}
	return out, lines.Err()
}
