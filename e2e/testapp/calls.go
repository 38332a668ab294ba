package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// callPause is between two calls of one caller; a raw connection is closed after rawCalls of them.
const (
	callPause = 10 * time.Millisecond
	callTime  = 20 * time.Second
	rawCalls  = 50
)

// calls is what came of calling another service again and again, by kind of client.
type calls struct {
	mu    sync.Mutex
	kinds map[string]*tally
}

type tally struct {
	Done    int            `json:"done"`
	Failed  int            `json:"failed"`
	First   string         `json:"first,omitempty"` // first failure
	Longest time.Duration  `json:"longest"`
	Answers map[string]int `json:"answers"`
}

func (c *calls) note(kind, answer string, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.kinds[kind]
	if t == nil {
		t = &tally{Answers: map[string]int{}}
		c.kinds[kind] = t
	}
	t.Done++
	t.Longest = max(t.Longest, took)
	if err != nil {
		if t.Failed++; t.First == "" {
			t.First = err.Error()
		}
		return
	}
	t.Answers[answer]++
}

func (c *calls) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = json.NewEncoder(w).Encode(c.kinds)
}

// callForEver calls a service's ports 8080 (HTTP) and, if there is one, 2525 (see greet) as three kinds of clients do.
func callForEver(service string, raw bool) *calls {
	c := &calls{kinds: map[string]*tally{}}
	go c.repeat("keeps connections", caller(&http.Transport{}, func() string { return service }))
	once := sync.OnceValue(func() string {
		for {
			if addrs, err := net.LookupHost(service); err == nil && len(addrs) > 0 {
				return addrs[0]
			}
			time.Sleep(callPause)
		}
	})
	go c.repeat("keeps addresses", caller(&http.Transport{DisableKeepAlives: true}, once))
	if raw {
		go func() {
			for {
				c.talk(service + ":2525")
			}
		}()
	}
	return c
}

func (c *calls) repeat(kind string, call func() (string, error)) {
	for {
		began := time.Now()
		answer, err := call()
		c.note(kind, answer, err, time.Since(began))
		time.Sleep(callPause)
	}
}

func caller(t *http.Transport, host func() string) func() (string, error) {
	client := &http.Client{Transport: t, Timeout: callTime}
	return func() (string, error) {
		resp, err := client.Get("http://" + host() + ":8080/")
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, b)
		}
		return string(b), err
	}
}

// talk looks the name up, connects, and has a number of lines sent back over the one connection.
func (c *calls) talk(addr string) {
	const kind = "keeps talking"
	began := time.Now()
	conn, err := net.DialTimeout("tcp", addr, callTime)
	if err != nil {
		c.note(kind, "", err, time.Since(began))
		time.Sleep(callPause)
		return
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for i := range rawCalls + 1 {
		_ = conn.SetDeadline(time.Now().Add(callTime))
		want := fmt.Sprintf("line %d\n", i)
		if i == 0 {
			want = ""
		} else {
			began = time.Now()
			_, err = io.WriteString(conn, want)
		}
		line, readErr := r.ReadString('\n')
		if err == nil {
			err = readErr
		}
		if err == nil && want != "" && line != want {
			err = fmt.Errorf("sent %q, got %q", want, line)
		}
		if want != "" {
			line = "line"
		}
		c.note(kind, strings.TrimSpace(line), err, time.Since(began))
		if err != nil {
			return
		}
		time.Sleep(callPause)
	}
}

// serveDatagrams answers each datagram with the host's name.
func serveDatagrams(port string) error {
	pc, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	go func() {
		b := make([]byte, 512)
		for {
			_, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(host), from)
		}
	}()
	return nil
}

// sendDatagram sends one and gives its answer.
func sendDatagram(ctx context.Context, addr string) (string, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "who"); err != nil {
		return "", err
	}
	b := make([]byte, 512)
	n, err := c.Read(b)
	return string(b[:n]), err
}
