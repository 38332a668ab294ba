package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server answers as a balancer in front of the backends would, until it is told to go wrong.
func server(t *testing.T, wrong func(w http.ResponseWriter, r *http.Request) bool) (b *bench, url string) {
	t.Helper()
	var n atomic.Int64
	body := smallReply.body()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 100 && wrong(w, r) {
			return
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	b = &bench{dir: t.TempDir(), options: options{duration: time.Second}}
	if err := writeScript(b.dir); err != nil {
		t.Fatal(err)
	}
	return b, s.URL
}

func TestWrongRepliesAreErrors(t *testing.T) {
	for name, wrong := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"status":     func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true },
		"short":      func(http.ResponseWriter, *http.Request) bool { return true },
		"broken off": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			b, url := server(t, wrong)
			if o, err := b.wrk(t.Context(), url, smallReply, 4, false); err == nil {
				t.Errorf("wrk measured %+v", o)
			}
		})
	}
}

func TestWrkOutcome(t *testing.T) {
	b, url := server(t, func(http.ResponseWriter, *http.Request) bool { return false })
	o, err := b.wrk(t.Context(), url, smallReply, 4, false)
	if err != nil {
		t.Fatal(err)
	}
	if o.requests < 100 || o.took < time.Second || o.p50 <= 0 || o.p99 < o.p50 || o.p999 < o.p99 {
		t.Errorf("outcome is %+v", o)
	}
}

func TestReadH2Log(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Repeat("1795340638494754\t200\t1000\n", 98) + "1\t200\t5000\n1\t200\t9000\n")
	o, err := readH2Log(log, 2*time.Second)
	if want := (outcome{requests: 100, took: 2 * time.Second, p50: time.Millisecond, p99: 9 * time.Millisecond, p999: 9 * time.Millisecond}); o != want || err != nil {
		t.Errorf("outcome is %+v, %v, want %+v", o, err, want)
	}
	for _, text := range []string{"", "1\t502\t1000\n", "1\t-1\t1000\n", "1\t200\n"} {
		write(text)
		if o, err := readH2Log(log, time.Second); err == nil {
			t.Errorf("log %q gives %+v", text, o)
		}
	}
}

func TestReadProfile(t *testing.T) {
	p := &profile{packages: map[string]int{}, leaves: map[string]int{}}
	p.read(strings.NewReader(`
	ffffffff8208fc1f tcp_v4_send_check ([kernel.kallsyms])
	ffffffff816d63c3 ksys_write ([kernel.kallsyms])
	            96ae [unknown] (/elsewhere)

	            96af aes_gcm (/lib/libcrypto.so.3)

`), &lineTable{path: "/tmp/ikada"})
	if p.samples != 2 || p.packages["kernel: write"] != 1 || p.packages["/lib/libcrypto.so.3"] != 1 || p.leaves["tcp_v4_send_check"] != 1 {
		t.Errorf("profile is %+v", p)
	}
}

// TestLineTable finds a function of this very program by its address.
func TestLineTable(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLines(self)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fn := l.table.LookupFunc("net/http.(*Server).Serve")
	if fn == nil {
		t.Fatal("a function is not in the table")
	}
	for _, p := range l.Progs {
		if p.Vaddr <= fn.Entry && fn.Entry < p.Vaddr+p.Filesz {
			f := l.frame(fn.Entry-p.Vaddr+p.Off+1, true)
			if f.name != fn.Name || !strings.HasSuffix(f.origin, "net/http") {
				t.Errorf("frame is %+v", f)
			}
			return
		}
	}
	t.Fatal("no part of the program has the function")
}
