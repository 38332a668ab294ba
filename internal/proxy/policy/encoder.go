package policy

import (
	"fmt"
	"io"
	"sync"

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

// NewEncoder gives an encoder for what [Policy.Encoding] gave, which writes to w. Either Close or Abort must be called,
// so that its memory, some hundred kilobytes, is used again.
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

// The compressors that wait for a body. The collector takes what is not used.
var (
	gzips = sync.Pool{New: func() any { return compressor(newGzip()) }}
	zstds = sync.Pool{New: func() any { return compressor(newZstd()) }}
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

const (
	gzipLevel  = 3
	zstdWindow = 256 << 10
)

// encoder is a compressor on loan.
type encoder struct {
	pool *sync.Pool
	compressor
}

func newEncoder(pool *sync.Pool, w io.Writer) *encoder {
	c := pool.Get().(compressor)
	c.Reset(w)
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
}
