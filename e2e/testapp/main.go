// Command testapp is the server that the end-to-end tests put into images. What it does is asked for by requests; how
// it starts, and fails, by its environment.
//
//	PORT          where it serves HTTP/1.1, h2c and WebSocket; 8080
//	TCP_PORT      where it also serves a protocol in which the server speaks first; none
//	UDP_PORT      where it also answers datagrams with its host's name; none
//	CALL          a service that it calls again and again; /calls tells what came of it
//	CALL_TCP      "1" also calls that service's TCP_PORT, 2525
//	START_DELAY   how long it waits before it listens
//	CRASH         "start" exits at once with code 7; a duration exits that long after it listens
//	CRASH_IF      a file: it exits with code 7 once that is there
//	UNHEALTHY     "1" lets /healthz answer 500
//	LEAK          megabytes that it takes at its start
//	LEAK_EACH     kilobytes that it takes with each request of /
//	FAIL          percent of the requests of / that are answered with 500
//	DROP          percent of the requests of / whose connection is closed without an answer
//	DELAY         how long it waits before it answers /
//	RAW           how it answers instead, in ways that servers should not; see answerRaw
//	IGNORE_TERM   "1" ignores SIGTERM
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	fmt.Printf("testapp %s starts\n", os.Getenv("VERSION"))
	if os.Getenv("CRASH") == "start" {
		fmt.Fprintln(os.Stderr, "testapp was told to crash")
		os.Exit(7)
	}
	if n, _ := strconv.Atoi(os.Getenv("LEAK")); n > 0 {
		take(n)
	}
	if d, _ := time.ParseDuration(os.Getenv("START_DELAY")); d > 0 {
		time.Sleep(d)
	}
	if mode := os.Getenv("RAW"); mode != "" {
		return answerRaw(mode)
	}
	if port := os.Getenv("TCP_PORT"); port != "" {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go greet(l)
	}
	if port := os.Getenv("UDP_PORT"); port != "" {
		if err := serveDatagrams(port); err != nil {
			return err
		}
	}
	server := &http.Server{Addr: ":" + port(), Handler: handler(), ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", server.Addr)
	if err != nil {
		return err
	}
	if d, err := time.ParseDuration(os.Getenv("CRASH")); err == nil {
		time.AfterFunc(d, func() {
			fmt.Fprintln(os.Stderr, "testapp was told to crash")
			os.Exit(7)
		})
	}
	if path := os.Getenv("CRASH_IF"); path != "" {
		go crashIf(path)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	stopped := make(chan struct{})
	go func() {
		for s := range signals {
			fmt.Printf("testapp got %s\n", s)
			if os.Getenv("IGNORE_TERM") != "1" {
				break
			}
		}
		_ = server.Shutdown(context.Background())
		close(stopped)
	}()
	fmt.Printf("testapp %s listens on %s\n", os.Getenv("VERSION"), server.Addr)
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	return nil
}

// crashIf ends the program once a file is there; it looks every second, so that whoever starts becomes ready first.
func crashIf(path string) {
	for {
		time.Sleep(time.Second)
		if _, err := os.Stat(path); err == nil {
			fmt.Fprintln(os.Stderr, "testapp was told to crash")
			os.Exit(7)
		}
	}
}

// broken is set by /break: from then on / is answered with 500.
var broken atomic.Bool

// home answers with the version, unless the environment says otherwise.
func home() http.HandlerFunc {
	number := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	fail, drop, leak := number("FAIL"), number("DROP"), number("LEAK_EACH")
	delay, _ := time.ParseDuration(os.Getenv("DELAY"))
	return func(w http.ResponseWriter, _ *http.Request) {
		if leak > 0 {
			keep(leak << 10)
		}
		time.Sleep(delay)
		if rand.IntN(100) < drop {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
		if rand.IntN(100) < fail || broken.Load() {
			http.Error(w, "testapp was told to fail", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, os.Getenv("VERSION"))
	}
}

func port() string {
	if p := os.Getenv("PORT"); p != "" {
		return p
	}
	return "8080"
}

// greet speaks first, then sends back what it gets, line by line or not.
func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			fmt.Fprintf(c, "220 testapp %s\r\n", os.Getenv("VERSION"))
			_, _ = io.Copy(c, c)
		}()
	}
}

var (
	leaking sync.Mutex
	leaked  [][]byte
)

// take takes megabytes.
func take(megabytes int) {
	for range megabytes {
		keep(1 << 20)
	}
}

// keep takes bytes, and touches them.
func keep(bytes int) {
	b := make([]byte, bytes)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	leaking.Lock()
	defer leaking.Unlock()
	leaked = append(leaked, b)
}

func handler() http.Handler {
	var unhealthy atomic.Bool
	unhealthy.Store(os.Getenv("UNHEALTHY") == "1")
	host, _ := os.Hostname()
	mux := http.NewServeMux()
	text := func(path string, f func(r *http.Request) (string, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			s, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			_, _ = io.WriteString(w, s)
		})
	}
	mux.Handle("/", home())
	text("/host", func(*http.Request) (string, error) { return host, nil })
	text("/args", func(*http.Request) (string, error) { return strings.Join(os.Args[1:], "\n"), nil })
	text("/proto", func(r *http.Request) (string, error) { return r.Proto, nil })
	text("/env", func(r *http.Request) (string, error) { return os.Getenv(r.FormValue("name")), nil })
	text("/headers", func(r *http.Request) (string, error) { return fmt.Sprint(r.Host, " ", r.Header), nil })
	text("/say", func(r *http.Request) (string, error) { fmt.Println(r.FormValue("text")); return "said", nil })
	text("/fail", func(*http.Request) (string, error) { unhealthy.Store(true); return "from now on unhealthy", nil })
	text("/break", func(*http.Request) (string, error) { broken.Store(true); return "from now on broken", nil })
	text("/read", func(r *http.Request) (string, error) {
		b, err := os.ReadFile(r.FormValue("path"))
		return string(b), err
	})
	text("/write", func(r *http.Request) (string, error) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(r.FormValue("path"), b, 0o644)
		}
		return "written", err
	})
	text("/echo", func(r *http.Request) (string, error) {
		b, err := io.ReadAll(r.Body)
		return string(b), err
	})
	text("/get", func(r *http.Request) (string, error) { return get(r.Context(), r.FormValue("url")) })
	text("/udp", func(r *http.Request) (string, error) { return sendDatagram(r.Context(), r.FormValue("addr")) })
	if service := os.Getenv("CALL"); service != "" {
		mux.Handle("/calls", callForEver(service, os.Getenv("CALL_TCP") == "1"))
	}
	text("/leak", func(r *http.Request) (string, error) {
		n, err := strconv.Atoi(r.FormValue("mb"))
		take(n)
		return "taken", err
	})
	text("/slow", func(r *http.Request) (string, error) {
		d, err := time.ParseDuration(r.FormValue("d"))
		if err == nil {
			time.Sleep(d)
		}
		return os.Getenv("VERSION"), err
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if unhealthy.Load() {
			http.Error(w, "unhealthy, as told", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/ws", echo)
	return mux
}

// get asks another server, for at most ten seconds.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// stream sends n numbered lines, d apart.
func stream(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.FormValue("n"))
	d, _ := time.ParseDuration(r.FormValue("d"))
	for i := range n {
		fmt.Fprintf(w, "%s %d\n", os.Getenv("VERSION"), i)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(d)
	}
}

// echo answers every message of a WebSocket with the version and the message.
func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, b, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, append([]byte(os.Getenv("VERSION")+" "), b...)); err != nil {
			return
		}
	}
}
