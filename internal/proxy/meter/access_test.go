package meter

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// lines reads the lines of log files and fails at one that is no JSON.
func lines(t *testing.T, paths ...string) (all []map[string]any) {
	t.Helper()
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s does not end with a newline", path)
		}
		for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); {
			var line map[string]any
			if err := json.Unmarshal(in.Bytes(), &line); err != nil {
				t.Fatalf("%s: %v in %q", path, err, in.Bytes())
			}
			all = append(all, line)
		}
	}
	return all
}

func accessLog(t *testing.T, sample int, fileBytes int64) (*AccessLog, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.log")
	a, err := newAccessLog(path, sample, slog.New(slog.DiscardHandler), fileBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a, path
}

func TestAccessLine(t *testing.T) {
	a, path := accessLog(t, 0, maxFileBytes)
	e := testEntry(New().Leaf(testSource))
	e.Result.Retries, e.Result.Failure = 2, Reset
	a.Add(0, &e)
	a.Add(1, &Entry{Time: e.Time, Path: "/", Result: Result{Status: 404}})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-11-22T10:00:00.123Z","id":"01JD9Z6Y3K8W","client":"203.0.113.9:40112","method":"GET",` +
		`"host":"shop.example.com","path":"/cart/items","proto":"HTTP/1.1","status":200,"in":180,"out":860,"wait_ms":0.800,` +
		`"total_ms":0.900,"app":"shop","env":"production","service":"web","route":"shop.example.com/","release":7,` +
		`"task":"web-1","retries":2,"failure":"reset","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) ` +
		`Gecko/20100101 Firefox/140.0","referer":"https://shop.example.com/cart"}` + "\n" +
		`{"time":"2026-11-22T10:00:00.123Z","path":"/","status":404,"in":0,"out":0,"wait_ms":0.000,"total_ms":0.000}` + "\n"
	if string(b) != want {
		t.Errorf("log\n%swant\n%s", b, want)
	}
	a.Add(0, &e) // after Close it is dropped
	if err := a.Reopen(); err == nil {
		t.Error("a closed log opens again")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestAccessLogSamples(t *testing.T) {
	a, _ := accessLog(t, 10, maxFileBytes)
	wanted := 0
	for range 10_000 {
		if a.Wants(&okResult) {
			wanted++
		}
		if !a.Wants(&Result{Status: 500}) || !a.Wants(&Result{Failure: Broken}) {
			t.Fatal("a failed request is left out")
		}
	}
	if wanted < 850 || wanted > 1150 { // five standard deviations
		t.Errorf("%d of 10,000 are wanted, one in ten", wanted)
	}
	var none *AccessLog
	if none.Wants(&Result{Status: 500}) {
		t.Error("a log that there is not wants a request")
	}
	if _, err := NewAccessLog(filepath.Join(t.TempDir(), "no", "access.log"), 1, nil); err == nil {
		t.Error("a log in no directory was opened")
	}
	if _, err := NewAccessLog("access.log", -1, nil); err == nil {
		t.Error("a sample of -1 was taken")
	}
}

func TestAccessLogIsWrittenWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, path := accessLog(t, 1, maxFileBytes)
		a.Add(0, &Entry{Path: "/one"})
		time.Sleep(flushEvery)
		synctest.Wait()
		if got := lines(t, path); len(got) != 1 || got[0]["path"] != "/one" {
			t.Errorf("the log has %v", got)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestAccessLogUnderPressure has more written than the queue holds: every line is in the files whole and in its
// worker's order, or counted as dropped.
func TestAccessLogUnderPressure(t *testing.T) {
	a, path := accessLog(t, 1, 1<<30)
	a.most = 64 << 10
	const workers, each = 4, 20_000
	leaf := New().Leaf(testSource)
	var writing sync.WaitGroup
	for worker := range workers {
		writing.Go(func() {
			for i := range each {
				e := testEntry(leaf)
				e.ID, e.Result.Status = fmt.Sprint(worker), i
				a.Add(worker, &e)
			}
		})
	}
	writing.Wait()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	written, dropped, last := 0, 0, map[string]int{}
	for _, line := range lines(t, path) {
		if n, is := line["dropped"].(float64); is {
			dropped += int(n)
			continue
		}
		written++
		id, i := line["id"].(string), int(line["status"].(float64))
		if i < last[id] {
			t.Fatalf("worker %s: line %d after %d", id, i, last[id])
		}
		last[id] = i
	}
	t.Logf("%d lines written, %d dropped", written, dropped)
	if written+dropped != workers*each || dropped == 0 {
		t.Errorf("%d written and %d dropped of %d", written, dropped, workers*each)
	}
}

func TestAccessLogRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 10_000
		a, path := accessLog(t, 1, most)
		leaf := New().Leaf(testSource)
		const n = 300
		for i := range n {
			e := testEntry(leaf)
			e.Result.Status = i
			a.Add(0, &e)
			if i%10 == 9 {
				time.Sleep(flushEvery)
				synctest.Wait()
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		next := n
		for i := range keptFiles + 1 {
			name := path
			if i > 0 {
				name = fmt.Sprintf("%s.%d", path, i)
			}
			if s, err := os.Stat(name); err != nil || s.Size() > most || s.Mode().Perm()&^0o640 != 0 {
				t.Errorf("%v: %v", s, err)
			}
			all := lines(t, name)
			for j := range all {
				next--
				if got := all[len(all)-1-j]["status"]; got != float64(next) {
					t.Fatalf("%s has request %v, want %d", name, got, next)
				}
			}
		}
		if next == 0 {
			t.Error("nothing was thrown away: the test rotates too little")
		}
		if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != keptFiles+1 {
			t.Errorf("%d files are left: %v", len(files), err)
		}
	})
}

func TestAccessLogFollowsItsName(t *testing.T) {
	a, path := accessLog(t, 1, maxFileBytes)
	say := func(path string) {
		t.Helper()
		a.Add(0, &Entry{Path: path})
		if err := a.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	say("/1")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	say("/2") // nobody said so, and yet it goes to the new file
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	say("/3")
	if old, now := lines(t, path+".old"), lines(t, path); len(old) != 1 || len(now) != 1 || now[0]["path"] != "/3" {
		t.Errorf("the old file has %v, the new one %v", old, now)
	}
	// A directory in its place: the log tells what was lost once it can.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	a.Add(0, &Entry{Path: "/4"})
	a.Add(0, &Entry{Path: "/5"})
	if err := a.Reopen(); err == nil {
		t.Error("a directory was opened as a log")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	say("/6")
	if now := lines(t, path); len(now) != 2 || now[0]["path"] != "/6" || now[1]["dropped"] != 2.0 {
		t.Errorf("the log has %v", now)
	}
}

// TestTwoWriters is the balancer handing over to its successor: both write, and one of them rotates.
func TestTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	var files [2]*logFile
	for i := range files {
		f, err := openLogFile(path, 1000)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = f
		defer f.close()
	}
	line := []byte(`{"text":"` + strings.Repeat("x", 80) + `"}` + "\n")
	for i := range 40 {
		if _, err := files[i%2].write(line); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for i := range keptFiles + 1 {
		name := path
		if i > 0 {
			name = files[0].rotated(i)
		}
		n += len(lines(t, name))
	}
	if n != 40 {
		t.Errorf("%d lines of 40 are there", n)
	}
}

func TestAccessLogAllocatesNothing(t *testing.T) {
	a := &AccessLog{sample: 1, lanes: make([]lane, 1), most: 1 << 20, wake: make(chan struct{}, 1)}
	a.lanes[0].lines = make([]byte, 0, 1<<20)
	leaf := New().Leaf(testSource)
	if n := testing.AllocsPerRun(1000, func() {
		e := testEntry(leaf)
		a.Add(0, &e)
	}); n != 0 {
		t.Errorf("a line costs %v allocations", n)
	}
}

func FuzzAppendJSON(f *testing.F) {
	for _, s := range []string{"", "plain", `"\/`, "\x00\x1f\x7f\n", "é€😀", "\xff\xc3", "\u0085\u009f\u00a0", "\u2028", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendJSON(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q is written as %q: %v", s, b, err)
		}
		var want string // also of bytes that are no UTF-8
		std, err := json.Marshal(s)
		if err != nil || json.Unmarshal(std, &want) != nil || got != want {
			t.Fatalf("%q is written as %q, by the library as %q", s, b, std)
		}
		for _, r := range string(b) {
			if r < 0x20 || r >= 0x7f && r < 0xa0 {
				t.Fatalf("%q has a control character", b)
			}
		}
		if c := cut(s, 5); len(c) > 5 || !strings.HasPrefix(s, c) || utf8.ValidString(s) && !utf8.ValidString(c) {
			t.Fatalf("%q is cut to %q", s, c)
		}
	})
}
