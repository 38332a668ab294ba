package shimlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Query says which records to give.
type Query struct {
	Since  time.Time // zero: from the beginning
	Until  time.Time // zero: to the end
	Tail   int       // only the last n of those; negative: all
	Follow bool      // wait for more at the end, until the context ends or the log is closed; else the end is where it was at Open
}

// recheck is how often a follower looks without having been told to: a net for missed notifications, and the pace when
// the machine has no inotify instance left.
const recheck = 500 * time.Millisecond

// Reader gives the records of a log one after another. It holds a file open and so outlives rotation and removal.
type Reader struct {
	ctx   context.Context
	dir   string
	q     Query
	watch *fsnotify.Watcher

	file   *os.File
	number int
	buf    []byte // read, not given yet
	off    int    // start of the next line in buf

	// Where the log ended when it was opened, for who does not follow: a task may write faster than it is read.
	last int   // number of the last file
	size int64 // of that file
}

// Open opens a log for reading. An error wraps os.ErrNotExist when there is none.
func Open(ctx context.Context, dir string, q Query) (*Reader, error) {
	r := &Reader{ctx: ctx, dir: dir, q: q}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if q.Follow {
		// Watching starts before the first read, so that nothing written in between goes unnoticed.
		if w, err := fsnotify.NewWatcher(); err == nil {
			if w.Add(dir) == nil {
				r.watch = w
			} else {
				w.Close()
			}
		}
	}
	if err := r.seek(); err != nil {
		r.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return r, nil
}

// Next gives the next record. io.EOF comes at the end, also when the context of a follower has ended.
func (r *Reader) Next() (Record, error) {
	for {
		line, err := r.line()
		if err != nil {
			return Record{}, err
		}
		rec, err := parseRecord(line)
		if err != nil {
			continue // what a damaged file holds besides records
		}
		if rec.Time.Before(r.q.Since) {
			continue
		}
		if !r.q.Until.IsZero() && rec.Time.After(r.q.Until) {
			return Record{}, io.EOF
		}
		return rec, nil
	}
}

// Close ends reading.
func (r *Reader) Close() error {
	var errs []error
	if r.watch != nil {
		errs = append(errs, r.watch.Close())
		r.watch = nil
	}
	if r.file != nil {
		errs = append(errs, r.file.Close())
		r.file = nil
	}
	return errors.Join(errs...)
}

// line gives the next whole line, going from file to file, waiting when it follows.
func (r *Reader) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.off:], '\n'); i >= 0 {
			line := r.buf[r.off : r.off+i]
			r.off += i + 1
			return line, nil
		}
		more, err := r.fill()
		if err != nil {
			return nil, err
		}
		if more {
			continue
		}
		// The order matters: look for the signs of an end first and read once more after, since the writer writes
		// its last bytes before it leaves such a sign.
		closed := r.closed()
		next, err := r.after()
		if err != nil {
			return nil, err
		}
		if !r.q.Follow && next > r.last {
			next = 0
		}
		if more, err = r.fill(); err != nil {
			return nil, err
		} else if more {
			continue
		}
		switch {
		case next > 0:
			if err := r.open(next); err != nil {
				return nil, err
			}
		case !r.q.Follow || closed || r.ctx.Err() != nil:
			return nil, io.EOF
		default:
			if !r.q.Until.IsZero() && time.Now().After(r.q.Until) {
				return nil, io.EOF
			}
			r.wait()
		}
	}
}

// fill reads more of the current file and tells whether there was any.
func (r *Reader) fill() (bool, error) {
	if r.file == nil {
		return false, nil
	}
	if r.off > 0 {
		r.buf = r.buf[:copy(r.buf, r.buf[r.off:])]
		r.off = 0
	}
	const step = 64 << 10
	n := len(r.buf)
	if cap(r.buf)-n < step {
		r.buf = append(make([]byte, 0, n+2*step), r.buf...)
	}
	var from io.Reader = r.file
	if !r.q.Follow && r.number == r.last {
		at, err := r.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return false, err
		}
		from = io.LimitReader(r.file, r.size-at)
	}
	m, err := from.Read(r.buf[n : n+step])
	r.buf = r.buf[:n+m]
	if err != nil && err != io.EOF {
		return false, err
	}
	return m > 0, nil
}

// after gives the number of the file that follows the current one, 0 when there is none.
func (r *Reader) after() (int, error) {
	numbers, err := files(r.dir)
	if err != nil {
		if os.IsNotExist(err) {
			return 0, nil
		}
		return 0, err
	}
	for _, n := range numbers {
		if n > r.number {
			return n, nil
		}
	}
	return 0, nil
}

// open goes on with the beginning of a file. One that was removed meanwhile is passed over.
func (r *Reader) open(number int) error {
	f, err := os.Open(filepath.Join(r.dir, fileName(number)))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if r.file != nil {
		r.file.Close()
	}
	r.number, r.buf, r.off = number, r.buf[:0], 0
	r.file = nil
	if err == nil {
		r.file = f
	}
	return nil
}

// closed tells whether no more will come.
func (r *Reader) closed() bool {
	if _, err := os.Stat(filepath.Join(r.dir, closedName)); err == nil {
		return true
	}
	_, err := os.Stat(r.dir)
	return os.IsNotExist(err)
}

// wait blocks until something may have changed.
func (r *Reader) wait() {
	t := time.NewTimer(recheck)
	defer t.Stop()
	var events <-chan fsnotify.Event
	if r.watch != nil {
		events = r.watch.Events
	}
	select {
	case <-r.ctx.Done():
	case <-t.C:
	case <-events:
	}
}

// seek goes to the first record that Tail allows.
func (r *Reader) seek() error {
	numbers, err := files(r.dir)
	if err != nil || len(numbers) == 0 {
		return err
	}
	r.last = numbers[len(numbers)-1]
	// One that has been removed since has nothing for who does not follow: there were whole files after it.
	if fi, err := os.Stat(filepath.Join(r.dir, fileName(r.last))); err == nil {
		r.size = fi.Size()
	} else if !os.IsNotExist(err) {
		return err
	}
	if r.q.Tail < 0 {
		return r.open(numbers[0])
	}
	left := r.q.Tail
	for i, number := range slices.Backward(numbers) {
		if err := r.open(number); err != nil {
			return err
		}
		if r.file == nil {
			continue
		}
		offset, n, err := r.tail(left)
		if err != nil {
			return err
		}
		if left -= n; left <= 0 || i == 0 {
			_, err = r.file.Seek(offset, io.SeekStart)
			return err
		}
	}
	return nil
}

// tail gives the offset of the last n records of the current file that Until allows, and how many these are.
func (r *Reader) tail(n int) (offset int64, found int, err error) {
	end, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	if !r.q.Follow && r.number == r.last {
		end = r.size
	}
	const step = 64 << 10
	var block []byte // from start to the end of what is not scanned yet
	start, whole := end, false
	offset = end
	for {
		i := bytes.LastIndexByte(block, '\n')
		if i < 0 && start > 0 {
			m := min(int64(step), start)
			b := make([]byte, m, m+int64(len(block)))
			if _, err := r.file.ReadAt(b, start-m); err != nil {
				return 0, 0, err
			}
			block, start = append(b, block...), start-m
			continue
		}
		line := block[i+1:]
		if whole { // ends in a newline that was cut off before
			at, err := parseTime(line)
			if err == nil && (r.q.Until.IsZero() || !at.After(r.q.Until)) {
				if found == n {
					return offset, found, nil
				}
				found++
			}
			offset = start + int64(i) + 1
		} else {
			offset = start + int64(i) + 1 // after the last whole record
		}
		if i < 0 {
			return 0, found, nil
		}
		block, whole = block[:i], true
	}
}
