package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// script makes wrk pause before each request, ask one of several hosts, and tell its counts as a line of JSON.
// Latencies are microseconds.
const script = `
local hosts, pause = %d, %d
request = function()
	if hosts > 1 then wrk.headers["Host"] = string.format(%q, math.random(hosts) - 1) end
	return wrk.format("GET")
end
if pause > 0 then delay = function() return pause end end
done = function(summary, latency)
	local e = summary.errors
	io.write(string.format('\nRESULT {"requests":%%.0f,"connect":%%.0f,"read":%%.0f,"write":%%.0f,"status":%%.0f,"timeout":%%.0f,' ..
		'"p50":%%.0f,"p99":%%.0f}\n', summary.requests, e.connect, e.read, e.write, e.status, e.timeout,
		latency:percentile(50), latency:percentile(99)))
end
`

// WrkConfig says what wrk asks.
type WrkConfig struct {
	URL   string
	Conns int
	Pause time.Duration // before each request of a connection; 0: as fast as it goes
	Hosts int           // more than 1: so many hosts are asked
	Host  string        // with %d for the number of one of them
}

// Wrk is a wrk that runs.
type Wrk struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	stop func() (WrkResult, error)
}

// WrkResult is what wrk has counted. Connect, Read and Write are errors of its sockets, Status are replies of 400 and
// above, Timeout those that took longer than 30 s.
type WrkResult struct {
	Requests                              int
	Connect, Read, Write, Status, Timeout int
	P50, P99                              int // microseconds
}

// Failed adds the errors up.
func (r WrkResult) Failed() int { return r.Connect + r.Read + r.Write + r.Status + r.Timeout }

func (r WrkResult) String() string {
	return fmt.Sprintf("%d requests, %d failed (connect %d, read %d, write %d, status %d, timeout %d), p50 %.1f ms, p99 %.1f ms",
		r.Requests, r.Failed(), r.Connect, r.Read, r.Write, r.Status, r.Timeout, float64(r.P50)/1e3, float64(r.P99)/1e3)
}

// StartWrk starts wrk with two threads for at most an hour; dir is for its script.
func StartWrk(dir string, c WrkConfig) (*Wrk, error) {
	path := filepath.Join(dir, "wrk.lua")
	text := fmt.Sprintf(script, max(c.Hosts, 1), c.Pause.Milliseconds(), c.Host)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	w := &Wrk{cmd: exec.Command("wrk", "-t2", fmt.Sprint("-c", c.Conns), "-d1h", "--timeout", "30s", "--latency", "-s", path, c.URL)}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.out
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start wrk: %w", err)
	}
	w.stop = sync.OnceValues(w.end)
	return w, nil
}

// Stop ends wrk and gives what it has counted, every time the same.
func (w *Wrk) Stop() (WrkResult, error) { return w.stop() }

func (w *Wrk) end() (r WrkResult, err error) {
	err = errors.Join(w.cmd.Process.Signal(syscall.SIGINT), w.cmd.Wait())
	_, line, found := strings.Cut(w.out.String(), "\nRESULT ")
	line, _, _ = strings.Cut(line, "\n")
	if !found || err != nil {
		return r, fmt.Errorf("wrk gave no result: %w: %s", err, w.out.String())
	}
	return r, json.Unmarshal([]byte(line), &r)
}
