package meter

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	// flushEvery is the longest that a line waits for the disk.
	flushEvery = time.Second

	// queueBytes is how much may wait for the disk, and again as much be on its way there; a line takes about 400
	// bytes. Each lane has its share, and no less than laneBytes.
	queueBytes = 4 << 20
	laneBytes  = 64 << 10
)

// AccessLog writes requests to a file, one line of JSON each. Writing a line costs the request an encoding into memory;
// the file is one goroutine's. What the disk cannot take in time is dropped, and a line tells how many that were:
// {"time":"…","dropped":12}.
//
// Lines of requests that end at about the same time may change places.
type AccessLog struct {
	sample uint32
	log    *slog.Logger
	lanes  []lane
	most   int // bytes in a lane; at a quarter of them the writer is woken before its time
	wake   chan struct{}
	reopen chan chan error
	stop   chan struct{}
	done   chan struct{}
	closed sync.Once

	file    *logFile // the writer's, as what follows
	lost    uint64   // lines that went to no file, and were not told yet
	failing bool
}

// lane is a part of the queue, so that workers do not wait for each other.
type lane struct {
	mu      sync.Mutex
	closed  bool
	lines   []byte
	dropped uint64 // that found it full
	spare   []byte // the other buffer, while the writer has none of them
	_       [56]byte
}

// NewAccessLog opens a log that has one of sample requests, drawn at random, and every failed one; 0 and 1 have all.
// The file's directory must exist. At 100 MB the file becomes path.1, the one before path.2, and so on up to path.4. A
// file that cannot be opened is an error of kind Invalid. The log must be closed.
func NewAccessLog(path string, sample int, log *slog.Logger) (*AccessLog, error) {
	return newAccessLog(path, sample, log, maxFileBytes)
}

func newAccessLog(path string, sample int, log *slog.Logger, fileBytes int64) (*AccessLog, error) {
	if sample < 0 {
		return nil, api.FieldError("accessLogSample", strconv.Itoa(sample), "zero or more")
	}
	f, err := openLogFile(path, fileBytes)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "open access log: %v", err)
	}
	shards := shardCount()
	a := &AccessLog{
		sample: uint32(max(sample, 1)), log: log, file: f,
		lanes: make([]lane, shards), most: max(queueBytes/shards, laneBytes),
		wake: make(chan struct{}, 1), reopen: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go a.write()
	return a, nil
}

// Wants tells whether the log is to have a request; ask once for each. A nil log wants none.
func (a *AccessLog) Wants(r *Result) bool {
	return a != nil && (a.sample == 1 || r.Failed() || rand.Uint32N(a.sample) == 0)
}

// Add writes an entry. It never waits for the disk, and keeps nothing of the entry. Any number may be given for shard.
func (a *AccessLog) Add(shard int, e *Entry) {
	l := &a.lanes[shard&(len(a.lanes)-1)]
	l.mu.Lock()
	before := len(l.lines)
	if before >= a.most || l.closed {
		l.dropped++
		l.mu.Unlock()
		return
	}
	l.lines = e.append(l.lines)
	full := before < a.most/4 && len(l.lines) >= a.most/4
	l.mu.Unlock()
	if full {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// Reopen writes what waits and opens the file anew: another program has moved it away. After an error the log goes on
// with the file it had.
func (a *AccessLog) Reopen() error {
	answer := make(chan error, 1)
	select {
	case a.reopen <- answer:
		return <-answer
	case <-a.done:
		return api.Errorf(api.Conflict, "reopen access log: it is closed")
	}
}

// Close writes what waits, closes the file and joins the writer. Entries that come later are dropped.
func (a *AccessLog) Close() error {
	a.closed.Do(func() { close(a.stop) })
	<-a.done
	return nil
}

// write is the writer: it empties the queue until Close.
func (a *AccessLog) write() {
	defer close(a.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.flush(false)
		case <-a.wake:
			a.flush(false)
		case answer := <-a.reopen:
			a.flush(false)
			answer <- a.file.reopen()
		case <-a.stop:
			a.flush(true)
			if err := a.file.close(); err != nil {
				a.log.Error("cannot close access log", "error", err)
			}
			return
		}
	}
}

// flush writes what is in the lanes, and at last closes them.
func (a *AccessLog) flush(last bool) {
	for i := range a.lanes {
		l := &a.lanes[i]
		lines, dropped := l.take(last)
		a.lost += dropped
		if len(lines) > 0 {
			written := a.put(lines)
			a.lost += uint64(bytes.Count(lines[written:], []byte{'\n'}))
		}
		l.give(lines)
	}
	if a.lost == 0 {
		return
	}
	if told := a.told(); a.put(told) == len(told) {
		a.lost = 0
	}
}

// told is the line that tells of dropped ones.
func (a *AccessLog) told() []byte {
	b := append([]byte(nil), `{"time":"`...)
	b = time.Now().UTC().AppendFormat(b, timeForm)
	return fmt.Appendf(b, "\",\"dropped\":%d}\n", a.lost)
}

// put writes to the file and tells how many bytes went there; only the first of several errors is logged.
func (a *AccessLog) put(lines []byte) int {
	n, err := a.file.write(lines)
	if err != nil && !a.failing {
		a.log.Error("cannot write access log", "error", err)
	}
	if err == nil && a.failing {
		a.log.Info("access log is written again")
	}
	a.failing = err != nil
	return n
}

// take gives what the lane holds and leaves it the other buffer.
func (l *lane) take(last bool) (lines []byte, dropped uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, dropped = l.lines, l.dropped
	l.lines, l.spare, l.dropped, l.closed = l.spare, nil, 0, last
	return lines, dropped
}

// give brings a buffer back that has been written.
func (l *lane) give(lines []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = lines[:0]
}
