// Command faultserver is the web server that the fault tests deploy. Its output is numbered and it ends with a code of
// its own, so that a lost line or exit code shows.
//
//	VERSION   what it answers
//	BROKEN    not empty: its health check fails
//	EXIT      its exit code after SIGTERM
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// tick is the pause between two numbered lines.
const tick = 100 * time.Millisecond

func main() {
	version := os.Getenv("VERSION")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("BROKEN") != "" {
			http.Error(w, "broken", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(d)
		fmt.Fprintln(w, version)
	})
	lines := &lines{}
	mux.HandleFunc("POST /exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		lines.end()
		os.Exit(code)
	})
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			fmt.Println(err)
			os.Exit(1)
		}
	}()
	for range time.Tick(tick) {
		lines.next()
		if stop.Err() != nil {
			break
		}
	}
	_ = server.Shutdown(context.Background())
	lines.end()
	code, _ := strconv.Atoi(os.Getenv("EXIT"))
	os.Exit(code)
}

// lines counts what was written.
type lines struct {
	mu sync.Mutex
	n  int
}

func (l *lines) next() {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Println("line", l.n)
	l.n++
}

// end writes the last line, after which there is none.
func (l *lines) end() {
	l.mu.Lock()
	fmt.Println("last", l.n)
}
