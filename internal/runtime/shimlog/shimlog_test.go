package shimlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, dir string, q Query) []Record {
	t.Helper()
	r, err := Open(t.Context(), dir, q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []Record
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
}

func create(t *testing.T, dir string, size int64, files int) *Writer {
	t.Helper()
	w, err := Create(dir, size, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func write(t *testing.T, w *Writer, stream, text string) {
	t.Helper()
	if err := w.Copy(stream, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func TestLines(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, 1<<20, 2)
	write(t, w, Stdout, "one\n\n two \r\nlast without an end")
	write(t, w, Stderr, "P F stdout\n")
	want := []Record{{Stream: Stdout, Text: "one"}, {Stream: Stdout}, {Stream: Stdout, Text: " two \r"}, {Stream: Stdout, Text: "last without an end", Partial: true}, {Stream: Stderr, Text: "P F stdout"}}
	got := read(t, dir, Query{Tail: -1})
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		want[i].Time = got[i].Time
		if got[i] != want[i] || time.Since(got[i].Time) > time.Minute {
			t.Errorf("record %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestLongLineIsSplit(t *testing.T) {
	dir := t.TempDir()
	line := strings.Repeat("x", 2*MaxText+10)
	write(t, create(t, dir, 1<<20, 2), Stdout, line+"\nshort\n")
	got := read(t, dir, Query{Tail: -1})
	if len(got) != 4 || !got[0].Partial || !got[1].Partial || got[2].Partial || got[3].Text != "short" {
		t.Fatalf("%d records", len(got))
	}
	if got[0].Text+got[1].Text+got[2].Text != line {
		t.Error("the pieces are not the line")
	}
}

// TestEndsWhereItWas holds that who does not follow gets what was there when he asked: a task may write faster than
// its log is read, also into further files.
func TestEndsWhereItWas(t *testing.T) {
	for _, tail := range []int{-1, 1} {
		for _, more := range []int{1, 200} {
			dir := t.TempDir()
			w := create(t, dir, 4096, 3)
			write(t, w, Stdout, "before\n")
			r, err := Open(t.Context(), dir, Query{Tail: tail})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			write(t, w, Stdout, strings.Repeat("meanwhile\n", more))
			if rec, err := r.Next(); err != nil || rec.Text != "before" {
				t.Errorf("tail %d, %d lines more: %+v, %v", tail, more, rec, err)
			}
			if rec, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("tail %d, %d lines more: then %+v, %v; want the end", tail, more, rec, err)
			}
		}
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	const size, keep = 4096, 3
	w := create(t, dir, size, keep)
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	write(t, w, Stdout, b.String())
	numbers, err := files(dir)
	if err != nil || len(numbers) != keep {
		t.Fatalf("files %v, %v; want %d", numbers, err, keep)
	}
	for _, n := range numbers {
		if fi, err := os.Stat(filepath.Join(dir, fileName(n))); err != nil || fi.Size() > size {
			t.Errorf("file %d: %v, %v", n, fi, err)
		}
	}
	got := read(t, dir, Query{Tail: -1})
	for i, rec := range got {
		if want := fmt.Sprintf("line %d", 1000-len(got)+i); rec.Text != want {
			t.Fatalf("record %d is %q, want %q", i, rec.Text, want)
		}
	}
	if len(got) < 100 {
		t.Errorf("only %d records kept", len(got))
	}
	for _, n := range []int{0, 1, 70, 150} {
		tail := read(t, dir, Query{Tail: n})
		if len(tail) != n || (n > 0 && tail[0] != got[len(got)-n]) {
			t.Errorf("tail of %d gives %d records", n, len(tail))
		}
	}
	until := got[len(got)/2].Time
	for _, rec := range read(t, dir, Query{Tail: 5, Until: until}) {
		if rec.Time.After(until) {
			t.Errorf("record %+v is after %v", rec, until)
		}
	}
}

func TestFollowSurvivesRotation(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, 512, 1000)
	r, err := Open(t.Context(), dir, Query{Tail: 0, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- w.Copy(Stdout, pr) }()
	for i := range 300 {
		fmt.Fprintf(pw, "line %d\n", i)
		rec, err := r.Next()
		if err != nil || rec.Text != fmt.Sprintf("line %d", i) {
			t.Fatalf("record %d is %+v, %v", i, rec, err)
		}
	}
	pw.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := MarkClosed(dir); err != nil {
		t.Fatal(err)
	}
	if rec, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("a closed log gives %+v, %v", rec, err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	dir := t.TempDir()
	create(t, dir, 512, 2)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Open(ctx, dir, Query{Tail: -1, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan error, 1)
	go func() {
		_, err := r.Next()
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want EOF", err)
	}
}

// A shim that was killed in the middle of a write leaves half a record.
func TestHalfARecord(t *testing.T) {
	dir := t.TempDir()
	write(t, create(t, dir, 1<<20, 5), Stdout, "one\ntwo\n")
	f, err := os.OpenFile(filepath.Join(dir, fileName(1)), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("2026-11-22T10:00:00Z stdout F thr"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	write(t, create(t, dir, 1<<20, 5), Stdout, "four\n")
	for tail, want := range map[int]string{-1: "one two four", 2: "two four"} {
		var got []string
		for _, rec := range read(t, dir, Query{Tail: tail}) {
			got = append(got, rec.Text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("tail %d gives %v, want %s", tail, got, want)
		}
	}
}

func TestLostLinesAreTold(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, 1<<20, 2)
	w.mu.Lock()
	w.lost = 3
	w.mu.Unlock()
	write(t, w, Stdout, "after\n")
	got := read(t, dir, Query{Tail: -1})
	if len(got) != 2 || !strings.Contains(got[0].Text, "3 lines") || got[0].Stream != Stderr || got[1].Text != "after" {
		t.Fatalf("got %+v", got)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("2026-11-22T10:00:00.000000001Z stdout F text"))
	f.Add([]byte("2026-11-22T10:00:00Z stderr P "))
	f.Add([]byte(" stdout"))
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := parseRecord(line)
		if err != nil {
			return
		}
		again, err := parseRecord([]byte(strings.TrimSuffix(string(appendRecord(nil, rec.Time, rec.Stream, []byte(rec.Text), rec.Partial)), "\n")))
		if err != nil || !again.Time.Equal(rec.Time) || again.Text != rec.Text || again.Stream != rec.Stream || again.Partial != rec.Partial {
			t.Fatalf("%q reads as %+v, then as %+v, %v", line, rec, again, err)
		}
	})
}
