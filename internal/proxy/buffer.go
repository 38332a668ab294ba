package proxy

import "sync"

const (
	smallBytes = 16 << 10 // holds the head of nearly every request, and of nearly every answer with a short body
	largeBytes = 64 << 10 // for bodies, and for the largest heads
)

// buffers lends memory to connections while they work; an idle one holds none.
type buffers struct {
	small, large sync.Pool
}

func newBuffers() *buffers {
	return &buffers{
		small: sync.Pool{New: func() any { b := make([]byte, smallBytes); return &b }},
		large: sync.Pool{New: func() any { b := make([]byte, largeBytes); return &b }},
	}
}

// window is borrowed memory with bytes in it that were read and not used yet: mem[at:end].
type window struct {
	mem     *[]byte // nil: nothing is borrowed
	at, end int
}

func (w *window) bytes() []byte {
	if w.mem == nil {
		return nil
	}
	return (*w.mem)[w.at:w.end]
}

func (w *window) empty() bool { return w.at == w.end }

// space gives where to read to. It is empty when the window is full.
func (w *window) space() []byte { return (*w.mem)[w.end:] }

// used takes n bytes off the beginning.
func (w *window) used(n int) {
	if w.at += n; w.at == w.end {
		w.at, w.end = 0, 0
	}
}

// borrow makes sure that there is memory.
func (w *window) borrow(from *sync.Pool) {
	if w.mem == nil {
		w.mem = from.Get().(*[]byte)
	}
}

// load fills an empty window with what was read elsewhere; there is a large buffer's room if that is asked for.
func (b *buffers) load(w *window, large bool, held []byte) {
	switch {
	case len(held) > largeBytes:
		mem := make([]byte, len(held))
		w.mem = &mem
	case large || len(held) > smallBytes:
		w.borrow(&b.large)
	default:
		w.borrow(&b.small)
	}
	w.end = copy(w.space(), held)
}

// giveBack ends the loan; what was in the window is gone.
func (b *buffers) giveBack(w *window) {
	switch {
	case w.mem == nil:
		return
	case len(*w.mem) == smallBytes:
		b.small.Put(w.mem)
	case len(*w.mem) == largeBytes:
		b.large.Put(w.mem)
	}
	*w = window{}
}

// room makes space for at least one more byte: by moving what there is to the beginning, or into a large buffer. It
// gives false when the window holds most bytes already.
func (b *buffers) room(w *window, most int) bool {
	if w.end < len(*w.mem) {
		return w.end-w.at < most
	}
	held := w.bytes()
	if len(held) >= most {
		return false
	}
	if w.at > 0 {
		w.end = copy(*w.mem, held)
		w.at = 0
		return true
	}
	var next *[]byte
	if len(*w.mem) < largeBytes {
		next = b.large.Get().(*[]byte)
	} else {
		bigger := make([]byte, 2*len(*w.mem)) // only heads that the configuration allows to be this large
		next = &bigger
	}
	n := copy(*next, held)
	b.giveBack(w)
	*w = window{mem: next, end: n}
	return true
}
