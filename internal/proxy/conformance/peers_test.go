package conformance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// peer is another load balancer, as Debian has it.
type peer struct {
	program string
	version []string // arguments that print it
	start   []string // further arguments, behind the configuration's file
	config  string   // of the ports for HTTP/1.1 and HTTP/2, and the task's address
}

// peers are configured as their documentation has it for a proxy with kept connections; what they make of odd requests
// is left at their defaults.
func peers() []peer {
	return []peer{
		{
			program: "nginx", version: []string{"-v"}, start: []string{"-c"},
			config: `
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	# A client that has sent all it had is still to be answered.
	proxy_ignore_client_abort on;
	upstream task { server %[3]s; keepalive 8; }
	server {
		listen 127.0.0.1:%[1]d;
		listen 127.0.0.1:%[2]d http2;
		location / {
			proxy_pass http://task;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
		}
	}
}
`,
		},
		{
			program: "haproxy", version: []string{"-v"}, start: []string{"-db", "-f"},
			config: `
global
	maxconn 256
defaults
	mode http
	timeout connect 5s
	timeout client 10s
	timeout server 10s
	timeout http-request 10s
	http-reuse always
frontend http
	bind 127.0.0.1:%[1]d
	bind 127.0.0.1:%[2]d proto h2
	default_backend task
backend task
	server a %[3]s
`,
		},
	}
}

// run starts the peer before a recorder, until the test ends; nil when it is not installed.
func (p peer) run(t *testing.T) *entrance {
	t.Helper()
	program := p.installed()
	if program == "" {
		return nil
	}
	task := newRecorder(t)
	h1, h2 := freePort(t), freePort(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, p.config, h1, h2, task.addr), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(p.start, config)
	if p.program == "nginx" {
		args = append(args, "-p", dir)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended when this fails
		<-ended
	})
	e := &entrance{name: p.program, h1: loopback(h1), h2: loopback(h2), task: task}
	for limit := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", e.h1)
		if err == nil {
			c.Close()
			return e
		}
		select {
		case err := <-ended:
			ended <- err
			text, _ := os.ReadFile(said.Name())
			t.Fatalf("%s: %v\n%s", p.program, err, text)
		case <-time.After(10 * time.Millisecond): // nothing tells when it listens
			if time.Now().After(limit) {
				t.Fatalf("%s does not listen", p.program)
			}
		}
	}
}

// installed gives the path of the program, "" when there is none.
func (p peer) installed() string {
	// They lie in directories that are not everyone's.
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, p.program)); err == nil {
			return path
		}
	}
	return ""
}

// release gives the version of the program that is installed, such as "1.22.1".
func (p peer) release(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(p.installed(), p.version...).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`\d+\.\d+\.\d+\S*`).FindString(string(out))
}

// freePort gives a port of 127.0.0.1 at which nobody listens, and which the kernel gives to nobody else until the test's
// end: a socket holds it that lets others listen there.
func freePort(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return addr.(*unix.SockaddrInet4).Port
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
