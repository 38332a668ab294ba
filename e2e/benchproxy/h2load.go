package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// h2Requests is h2load's count of what became of its requests.
var h2Requests = regexp.MustCompile(`(?m)^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$`)

// h2load asks a peer for a reply over HTTP/2, with a number of streams at once on each connection.
func (b *bench) h2load(ctx context.Context, p *peer, r reply, conns, streams int) (outcome, error) {
	log := filepath.Join(b.dir, "h2load.log")
	defer os.Remove(log)
	out, err := command(ctx, "h2load", "-t"+threads, fmt.Sprint("-c", conns), fmt.Sprint("-m", streams),
		fmt.Sprintf("-D%.0f", b.duration.Seconds()), "--log-file="+log, "--connect-to="+p.https, p.secureURL()+r.path)
	if err != nil {
		return outcome{}, err
	}
	if !strings.Contains(out, "TLS Protocol: TLSv1.3") || !strings.Contains(out, "Application protocol: h2\n") {
		return outcome{}, fmt.Errorf("h2load did not speak HTTP/2 over TLS 1.3: %s", out)
	}
	counts := h2Requests.FindStringSubmatch(out)
	if counts == nil {
		return outcome{}, fmt.Errorf("h2load gave no result: %s", out)
	}
	if bad := strings.Join(counts[2:], "+"); bad != "0+0+0" {
		return outcome{}, fmt.Errorf("h2load saw errors: failed, errored, timed out %s of %s", bad, counts[1])
	}
	return readH2Log(log, b.duration)
}

// readH2Log reads a request a line: its start in microseconds, its status, and how many microseconds it took. The
// summary that h2load prints has no percentiles.
func readH2Log(path string, took time.Duration) (outcome, error) {
	f, err := os.Open(path)
	if err != nil {
		return outcome{}, err
	}
	defer f.Close()
	var waits []time.Duration
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) < 3 || fields[1] != "200" {
			return outcome{}, fmt.Errorf("h2load's log has %q", lines.Text())
		}
		micros, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return outcome{}, fmt.Errorf("h2load's log has %q", lines.Text())
		}
		waits = append(waits, time.Duration(micros)*time.Microsecond)
	}
	return summarize(waits, took)
}

// summarize makes an outcome of the times that every single request took.
func summarize(waits []time.Duration, took time.Duration) (outcome, error) {
	if len(waits) == 0 {
		return outcome{}, errors.New("no request was answered")
	}
	slices.Sort(waits)
	at := func(share float64) time.Duration { return waits[min(len(waits)-1, int(share*float64(len(waits))))] }
	return outcome{requests: float64(len(waits)), took: took, p50: at(0.5), p99: at(0.99), p999: at(0.999)}, nil
}
