package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// threads is how many of their own wrk and h2load use, as many as there are cores.
const threads = "2"

// script makes wrk tell its counts as a line of JSON. Latencies are microseconds; those of --latency have no p99.9.
const script = `
done = function(summary, latency)
	local e = summary.errors
	io.write(string.format('\nRESULT {"requests":%.0f,"micros":%.0f,"bytes":%.0f,"connect":%.0f,"read":%.0f,"write":%.0f,' ..
		'"status":%.0f,"timeout":%.0f,"p50":%.0f,"p99":%.0f,"p999":%.0f}\n',
		summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
		latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
`

func scriptPath(dir string) string { return filepath.Join(dir, "done.lua") }

func writeScript(dir string) error { return os.WriteFile(scriptPath(dir), []byte(script), 0o600) }

// outcome is what a load generator saw.
type outcome struct {
	requests float64
	took     time.Duration
	bytes    float64
	p50, p99 time.Duration
	p999     time.Duration
}

// wrk asks for a reply over a number of connections, new ones each time if fresh.
func (b *bench) wrk(ctx context.Context, url string, r reply, conns int, fresh bool) (outcome, error) {
	args := []string{"-t" + threads, fmt.Sprint("-c", conns), fmt.Sprintf("-d%.0fs", b.duration.Seconds()), "--timeout", "10s", "--latency", "-s", scriptPath(b.dir)}
	if fresh {
		args = append(args, "-H", "Connection: close")
	}
	out, err := command(ctx, "wrk", append(args, url+r.path)...)
	if err != nil {
		return outcome{}, err
	}
	_, line, found := strings.Cut(out, "\nRESULT ")
	line, _, _ = strings.Cut(line, "\n")
	var got struct {
		Requests, Micros, Bytes               float64
		Connect, Read, Write, Status, Timeout int
		P50, P99, P999                        float64
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil || !found {
		return outcome{}, fmt.Errorf("wrk gave no result: %s", out)
	}
	if got.Connect+got.Read+got.Write+got.Status+got.Timeout > 0 {
		return outcome{}, fmt.Errorf("wrk saw errors: connect %d, read %d, write %d, status %d, timeout %d of %.0f requests",
			got.Connect, got.Read, got.Write, got.Status, got.Timeout, got.Requests)
	}
	if got.Requests == 0 || got.Bytes < got.Requests*float64(r.size) {
		return outcome{}, fmt.Errorf("wrk got %.0f bytes in %.0f replies of %d", got.Bytes, got.Requests, r.size)
	}
	micros := func(n float64) time.Duration { return time.Duration(n) * time.Microsecond }
	return outcome{requests: got.Requests, took: micros(got.Micros), bytes: got.Bytes,
		p50: micros(got.P50), p99: micros(got.P99), p999: micros(got.P999)}, nil
}

// command runs a program and gives what it printed.
func command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}
