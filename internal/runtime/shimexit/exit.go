// Package shimexit is the record that the shim leaves of a container's end: one small JSON file, written before anybody
// is told, so that the exit code is known whatever else dies. It also says how the shim is told where to put the record
// and the log: in the query of the task's stdout address.
//
// Files are replaced atomically and may be read at any time. They are not synced: a record need not outlive a crash of
// the machine, which ends the containers too. Start at [Record].
package shimexit

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Record tells how a container's first process ended.
type Record struct {
	ID   string    `json:"id"`
	Code int       `json:"code"` // 128+n after signal n
	OOM  bool      `json:"oom,omitempty"`
	At   time.Time `json:"at"`
}

const suffix = ".json"

// Path gives the file of a container's record.
func Path(dir, id string) string { return filepath.Join(dir, id+suffix) }

// Write writes a record, replacing one that is there.
func Write(dir string, r Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write exit record: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write exit record: %w", err)
	}
	tmp := filepath.Join(dir, "."+r.ID+"."+strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write exit record: %w", err)
	}
	if err := os.Rename(tmp, Path(dir, r.ID)); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write exit record: %w", err)
	}
	return nil
}

// Read reads a container's record; ok is false when there is none. What a crash of the machine has made of one, an empty
// file as a rule, is none: nobody is to be kept by it from looking after everything else.
func Read(dir, id string) (r Record, ok bool, err error) {
	b, err := os.ReadFile(Path(dir, id))
	if os.IsNotExist(err) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("read exit record of %s: %w", id, err)
	}
	if err := json.Unmarshal(b, &r); err != nil || r.ID != id {
		return Record{}, false, nil //nolint:nilerr // see above
	}
	return r, true, nil
}

// List gives the IDs that have a record.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("list exit records: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok && !strings.HasPrefix(id, ".") {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Remove removes a container's record; one that is missing is no error.
func Remove(dir, id string) error {
	if err := os.Remove(Path(dir, id)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove exit record: %w", err)
	}
	return nil
}

// Scheme is that of the stdout address that the shim handles itself.
const Scheme = "ikada-log"

// Output says where a container's output and exit record go.
type Output struct {
	LogDir   string // "" throws the output away
	MaxSize  int64  // bytes a file
	MaxFiles int
	ExitDir  string
}

// URI gives the address to ask for in a task's stdout.
func (o Output) URI() string {
	q := url.Values{}
	q.Set("max-size", strconv.FormatInt(o.MaxSize, 10))
	q.Set("max-files", strconv.Itoa(o.MaxFiles))
	q.Set("exits", o.ExitDir)
	return (&url.URL{Scheme: Scheme, Path: o.LogDir, RawQuery: q.Encode()}).String()
}

// ParseOutput reads an address; ok is false when it is of another scheme.
func ParseOutput(uri string) (o Output, ok bool, err error) {
	if !strings.HasPrefix(uri, Scheme+":") {
		return Output{}, false, nil
	}
	u, err := url.Parse(uri)
	if err != nil {
		return Output{}, true, fmt.Errorf("parse output address: %w", err)
	}
	o = Output{LogDir: u.Path, ExitDir: u.Query().Get("exits")}
	if o.MaxSize, err = strconv.ParseInt(u.Query().Get("max-size"), 10, 64); err != nil {
		return Output{}, true, fmt.Errorf("parse output address: max-size: %w", err)
	}
	if o.MaxFiles, err = strconv.Atoi(u.Query().Get("max-files")); err != nil {
		return Output{}, true, fmt.Errorf("parse output address: max-files: %w", err)
	}
	return o, true, nil
}
