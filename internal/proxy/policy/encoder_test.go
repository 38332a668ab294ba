package policy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// decoded opens an encoded body, gzip by the standard library's decoder.
func decoded(t testing.TB, encoding string, r io.Reader) io.Reader {
	t.Helper()
	if encoding == Gzip {
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	return z
}

// page makes a body like those that are served: n bytes of a list in JSON.
func page(n int) []byte {
	random := rand.New(rand.NewPCG(5, 6))
	words := strings.Fields("the raft is afloat again and carries whatever the river brings to those who wait below the falls")
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `{"id":%d,"token":"%08x","note":"%s %s %s"},`, i, random.Uint32(),
			words[random.IntN(len(words))], words[random.IntN(len(words))], words[random.IntN(len(words))])
	}
	return b.Bytes()[:n]
}

func TestEncoderRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, encoding := range []string{Gzip, Zstd} {
		for _, size := range []int{0, 1, 1024, 70_000, 3 << 20} {
			body := page(size)
			var sent bytes.Buffer
			e := NewEncoder(encoding, &sent)
			for rest := body; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(40_000))
				if k, err := e.Write(rest[:n]); k != n || err != nil {
					t.Fatalf("%s: %d, %v", encoding, k, err)
				}
				rest = rest[n:]
				if random.IntN(8) == 0 {
					if err := e.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(decoded(t, encoding, bytes.NewReader(sent.Bytes())))
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%s of %d bytes: %d bytes come back, %v", encoding, size, len(got), err)
			}
			if size > 1024 && sent.Len() > size/2 {
				t.Errorf("%s: %d bytes become %d", encoding, size, sent.Len())
			}
		}
	}
}

// TestFlushedIsDecodable reads each piece of a body before the next is written.
func TestFlushedIsDecodable(t *testing.T) {
	for _, encoding := range []string{Gzip, Zstd} {
		r, w := io.Pipe()
		e := NewEncoder(encoding, w)
		step, next := make(chan int), make(chan bool)
		go func() {
			for i := range step {
				fmt.Fprintf(e, "piece %3d\n", i)
				e.Flush()
				<-next
			}
			e.Close()
			w.Close()
		}()
		step <- 0
		d := decoded(t, encoding, r)
		got := make([]byte, len("piece   0\n"))
		for i := range 20 {
			if i > 0 {
				step <- i
			}
			if _, err := io.ReadFull(d, got); err != nil || string(got) != fmt.Sprintf("piece %3d\n", i) {
				t.Fatalf("%s: %q, %v", encoding, got, err)
			}
			next <- true
		}
		close(step)
		if rest, err := io.ReadAll(d); len(rest) > 0 || err != nil {
			t.Fatalf("%s: %q, %v", encoding, rest, err)
		}
	}
}

// TestAbortWritesNothing gives a body up: what was sent must not look whole, and the next body has nothing of it.
func TestAbortWritesNothing(t *testing.T) {
	for _, encoding := range []string{Gzip, Zstd} {
		var sent bytes.Buffer
		e := NewEncoder(encoding, &sent)
		e.Write(page(100_000))
		e.Flush()
		e.Write([]byte("and more"))
		n := sent.Len()
		e.Abort()
		e.Abort() // twice is once
		if sent.Len() != n {
			t.Errorf("%s: Abort writes %d bytes", encoding, sent.Len()-n)
		}
		if _, err := io.ReadAll(decoded(t, encoding, &sent)); err == nil {
			t.Errorf("%s: the part is taken for the whole", encoding)
		}
		for range 4 {
			var next bytes.Buffer
			e := NewEncoder(encoding, &next)
			e.Write([]byte("another"))
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(decoded(t, encoding, &next)); string(got) != "another" || err != nil {
				t.Fatalf("%s: %q, %v", encoding, got, err)
			}
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestEncoderGivesErrors(t *testing.T) {
	for _, encoding := range []string{Gzip, Zstd} {
		e := NewEncoder(encoding, broken{})
		_, first := e.Write(page(2 << 20))
		flush, end := e.Flush(), e.Close()
		if first == nil && flush == nil || end == nil {
			t.Errorf("%s: %v, %v, %v", encoding, first, flush, end)
		}
		var sent bytes.Buffer
		e = NewEncoder(encoding, &sent)
		e.Write([]byte("fine"))
		if err := e.Close(); err != nil {
			t.Errorf("%s: the error stays: %v", encoding, err)
		}
	}
}

func TestEncodersInParallel(t *testing.T) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for k := range 10 {
				encoding, body := []string{Gzip, Zstd}[k%2], bytes.Repeat([]byte{byte('a' + i)}, 10_000+k)
				var sent bytes.Buffer
				e := NewEncoder(encoding, &sent)
				e.Write(body)
				if k%3 == 0 {
					e.Abort()
					continue
				}
				e.Close()
				if got, err := io.ReadAll(decoded(t, encoding, &sent)); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s: %d bytes come back, %v", encoding, len(got), err)
				}
			}
		})
	}
	all.Wait()
	if n := lent.Load(); n != 0 {
		t.Errorf("%d encoders are not given back", n)
	}
}

func BenchmarkEncoder(b *testing.B) {
	for _, encoding := range []string{Gzip, Zstd} {
		for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dK", encoding, size>>10), func(b *testing.B) {
				body := page(size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var sent bytes.Buffer
				for b.Loop() {
					sent.Reset()
					e := NewEncoder(encoding, &sent)
					e.Write(body)
					e.Close()
				}
				b.ReportMetric(float64(size)/float64(sent.Len()), "ratio")
			})
		}
	}
}
