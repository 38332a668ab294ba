package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// reply is something that the backends serve.
type reply struct {
	path string
	size int // bytes of the body
}

var (
	smallReply = reply{"/small", 128}
	pageReply  = reply{"/page", 64 << 10}
	largeReply = reply{"/large", 10 << 20}
)

// origin is what all balancers stand before: two nginx processes of one worker each, and two WebSocket echo servers.
type origin struct {
	http, echo []string // addresses
	processes  []*process
}

// originConfig is a backend's. Its worker keeps connections for good, so that no balancer's luck with their ends is
// measured.
const originConfig = `
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid DIR/NAME.pid;
error_log DIR/NAME.error.log;
events { worker_connections 16384; }
http {
	access_log off;
	sendfile on;
	keepalive_timeout 1h;
	keepalive_requests 1000000000;
	open_file_cache max=16;
	default_type application/octet-stream;
	server {
		listen LISTEN backlog=4096;
		root DIR/www;
	}
}
`

// startOrigin starts the backends at the ports from first on.
func startOrigin(ctx context.Context, dir string, first int) (o origin, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, o.stop())
		}
	}()
	www := filepath.Join(dir, "www")
	if err := os.Mkdir(www, 0o755); err != nil {
		return o, err
	}
	for _, r := range []reply{smallReply, pageReply, largeReply} {
		if err := os.WriteFile(filepath.Join(www, r.path), r.body(), 0o644); err != nil {
			return o, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	for i := range 2 {
		name, addr := fmt.Sprint("backend", i), loopback(first+i)
		conf := strings.NewReplacer("DIR", dir, "NAME", name, "LISTEN", addr).Replace(originConfig)
		p, err := startNginx(dir, name, conf)
		if err != nil {
			return o, err
		}
		o.http, o.processes = append(o.http, addr), append(o.processes, p)
		name, addr = fmt.Sprint("echo", i), loopback(first+2+i)
		if p, err = startProcess(dir, name, self, "echo", addr); err != nil {
			return o, err
		}
		o.echo, o.processes = append(o.echo, addr), append(o.processes, p)
	}
	for _, p := range o.processes {
		if err := p.ended(); err != nil {
			return o, err
		}
	}
	for _, addr := range o.http {
		if err := until(ctx, "backend", func(ctx context.Context) error { return smallReply.check(ctx, http.DefaultClient, "http://"+addr) }); err != nil {
			return o, err
		}
	}
	for _, addr := range o.echo {
		if err := until(ctx, "echo server", func(ctx context.Context) error { return checkEcho(ctx, addr) }); err != nil {
			return o, err
		}
	}
	return o, nil
}

// leaders gives the first process of each session.
func (o origin) leaders() []int {
	var out []int
	for _, p := range o.processes {
		out = append(out, p.cmd.Process.Pid)
	}
	return out
}

func (o origin) stop() error {
	var errs []error
	for _, p := range o.processes {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// body gives the reply's bytes, the same in every run and in no way compressible.
func (r reply) body() []byte {
	b := make([]byte, r.size)
	_, _ = rand.NewChaCha8([32]byte{byte(r.size >> 8)}).Read(b) // it never fails
	return b
}

// check asks once and compares the answer's every byte.
func (r reply) check(ctx context.Context, c *http.Client, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+r.path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", r.path, err)
	}
	if resp.StatusCode != http.StatusOK || sha256.Sum256(body) != sha256.Sum256(r.body()) {
		return fmt.Errorf("GET %s: status %d, %d bytes that are not the backend's", r.path, resp.StatusCode, len(body))
	}
	return nil
}

// loopback is an address that nobody but this machine reaches.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(port)) }

// askTimeout bounds one request of a check.
const askTimeout = 5 * time.Second
