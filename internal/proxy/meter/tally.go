package meter

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// The places of a tally. Status class and kind of failure are counted as a pair: one addition books both, so no reader
// ever finds more failures than requests.
const (
	outcomesAt = 0
	latencyAt  = outcomesAt + classes*int(failures)
	inAt       = latencyAt + Buckets
	outAt      = inAt + 1
	retriesAt  = outAt + 1
	waitedAt   = retriesAt + 1
	lostAt     = waitedAt + 1
	longestAt  = lostAt + 1 // nanoseconds
	inFlightAt = longestAt + 1
	heldAt     = inFlightAt + 1
	tallySize  = heldAt + 1
)

// tally is all that is counted of some requests, in one row, so that adding up and writing down are loops.
type tally [tallySize]uint64

func outcome(r *Result) int { return r.class()*int(failures) + int(r.kind()) }

// count books one request.
func (t *tally) count(r *Result) {
	t[outcomesAt+outcome(r)]++
	t[latencyAt+bucket(r.Wait)]++
	t[inAt] += positive(r.In)
	t[outAt] += positive(r.Out)
	t[retriesAt] += positive(int64(r.Retries))
	if r.Held {
		t[waitedAt]++
	}
	t[longestAt] = max(t[longestAt], positive(int64(r.Wait)))
}

func positive(n int64) uint64 { return uint64(max(n, 0)) }

// add adds what other has counted; of the longest waits the longer one stays.
func (t *tally) add(other *tally) {
	longest := max(t[longestAt], other[longestAt])
	for i, n := range other {
		t[i] += n
	}
	t[longestAt] = longest
}

// outcomes gives requests by what became of them.
func (t *tally) outcomes() (requests, bad uint64, status [classes]uint64, kinds [failures]uint64) {
	for class := range classes {
		for kind := range failures {
			n := t[outcomesAt+class*int(failures)+int(kind)]
			requests += n
			status[class] += n
			kinds[kind] += n
			if failed(class, kind) {
				bad += n
			}
		}
	}
	return requests, bad, status, kinds
}

func (t *tally) latency() *Histogram { return (*Histogram)(t[latencyAt:]) }

func (t *tally) longest() time.Duration { return time.Duration(t[longestAt]) }

// A tally is kept as a bitmap of the places that are not zero, and their values as varints. A busy second takes
// about 100 bytes.
const bitmapSize = (tallySize + 7) / 8

// append writes the tally down after b.
func (t *tally) append(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, bitmapSize)...)
	for i, n := range t {
		if n != 0 {
			b[at+i/8] |= 1 << (i % 8)
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

// addEncoded adds a tally that append wrote down, in the way of add.
func (t *tally) addEncoded(b []byte) {
	longest := t[longestAt]
	t[longestAt] = 0
	values := b[bitmapSize:]
	for i, set := range b[:bitmapSize] {
		for ; set != 0; set &= set - 1 {
			n, size := binary.Uvarint(values)
			values = values[size:]
			t[i*8+bits.TrailingZeros8(set)] += n
		}
	}
	t[longestAt] = max(t[longestAt], longest)
}
