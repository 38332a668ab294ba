package policy

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Encoder encodes one body. It is for one goroutine, and of no use after Close or Abort.
type Encoder interface {
	// Write takes more of the body. What it gives may come out later.
	io.Writer
	// Flush writes all that Write was given in such a way that the client can decode it: for when the rest keeps
	// one waiting.
	Flush() error
	// Close writes the rest and the end of the coding. It does not close what is written to.
	Close() error
	// Abort gives the encoder up in the middle of a body. It writes nothing: an end that were well-formed would
	// make the client take the part for the whole.
	Abort()
}

// NewEncoder gives an encoder for what [Policy.Encoding] gave, which writes to w. It has about a mebibyte of memory, so
// either Close or Abort must be called in the end, for others to use it again.
func NewEncoder(encoding string, w io.Writer) Encoder {
	switch encoding {
	case Gzip:
		return newEncoder(&gzips, w)
	case Zstd:
		return newEncoder(&zstds, w)
	}
	panic(fmt.Sprintf("no encoder for %q", encoding))
}

// compressor is what both libraries offer.
type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// The compressors that wait for a body, for all routes; the collector takes what is not used. lent counts the others.
var (
	gzips = sync.Pool{New: func() any { return compressor(newGzip()) }}
	zstds = sync.Pool{New: func() any { return compressor(newZstd()) }}
	lent  atomic.Int64
)

// mostLent bounds the memory that compressors have at once, which slow clients would else decide: some 250 MiB. An
// answer that comes when so many are lent goes out as it is.
const mostLent = 256

// Of gzip's levels, 4 is the last that costs little more time than the first; zstd is at its quickest smaller than that.
const (
	gzipLevel  = 4
	zstdWindow = 256 << 10 // bytes
)

func newGzip() *gzip.Writer {
	z, err := gzip.NewWriterLevel(io.Discard, gzipLevel)
	if err != nil {
		panic(err) // the level is none
	}
	return z
}

func newZstd() *zstd.Encoder {
	z, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), // in the caller's goroutine
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(zstdWindow),
	)
	if err != nil {
		panic(err) // an option is none
	}
	return z
}

// encoder is a compressor on loan.
type encoder struct {
	pool *sync.Pool
	compressor
}

func newEncoder(pool *sync.Pool, w io.Writer) *encoder {
	c := pool.Get().(compressor)
	c.Reset(w)
	lent.Add(1)
	return &encoder{pool, c}
}

func (e *encoder) Close() error {
	err := e.compressor.Close()
	e.Abort()
	return err
}

func (e *encoder) Abort() {
	if e.compressor == nil {
		return
	}
	e.compressor.Reset(io.Discard) // or it would keep the client's connection from the collector
	e.pool.Put(e.compressor)
	e.compressor = nil
	lent.Add(-1)
}
