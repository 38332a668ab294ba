package meter

import (
	"encoding/binary"
	"slices"
	"sort"
)

// kept is how many seconds back a history goes.
const kept = 600

// history is the last ten minutes of something, a tally for each second in which anything happened. A busy leaf's
// takes 90 KB, a quiet one's next to nothing: some 60 bytes for each second with a request.
type history struct {
	seconds []moment // rising
}

// moment is one second of a history.
type moment struct {
	second int64 // unix
	data   []byte
}

// add counts in a second what t has; now is the current second.
func (h *history) add(second, now int64, t *tally) {
	if m := h.at(second, now); m != nil {
		sum := *t
		if len(m.data) > 0 {
			sum.addEncoded(m.data)
		}
		var buf [bitmapSize + tallySize*binary.MaxVarintLen64]byte
		// Not one byte more than needed: append would leave room, six hundred times.
		if b := sum.append(buf[:0]); cap(m.data) < len(b) {
			m.data = slices.Clone(b)
		} else {
			m.data = append(m.data[:0], b...)
		}
	}
}

// at gives the moment of a second, which it makes when there is none; nil for a second that is too old.
func (h *history) at(second, now int64) *moment {
	spare := h.trim(now)
	if second <= now-kept {
		return nil
	}
	i := len(h.seconds)
	for i > 0 && h.seconds[i-1].second > second {
		i--
	}
	if i > 0 && h.seconds[i-1].second == second {
		return &h.seconds[i-1]
	}
	h.seconds = append(h.seconds, moment{})
	copy(h.seconds[i+1:], h.seconds[i:])
	h.seconds[i] = moment{second: second, data: spare}
	return &h.seconds[i]
}

// trim drops what is too old, and what lies so far ahead that the clock must have been set back: now may be late by the
// seconds that a starved goroutine waited. It gives the memory of a dropped second.
func (h *history) trim(now int64) (spare []byte) {
	old := 0
	for old < len(h.seconds) && h.seconds[old].second <= now-kept {
		old++
	}
	end := len(h.seconds)
	for end > old && h.seconds[end-1].second > now+kept {
		end--
	}
	if old == 0 && end == len(h.seconds) {
		return nil
	}
	if old > 0 {
		spare = h.seconds[0].data[:0]
	}
	n := copy(h.seconds, h.seconds[old:end])
	clear(h.seconds[n:])
	h.seconds = h.seconds[:n]
	if n == 0 {
		h.seconds = nil
	}
	return spare
}

// from gives a copy of what is not before a second.
func (h *history) from(since int64) history {
	first := sort.Search(len(h.seconds), func(i int) bool { return h.seconds[i].second >= since })
	size := 0
	for _, m := range h.seconds[first:] {
		size += len(m.data)
	}
	c := history{slices.Clone(h.seconds[first:])}
	data := make([]byte, 0, size)
	for i, m := range c.seconds {
		at := len(data)
		data = append(data, m.data...)
		c.seconds[i].data = data[at:]
	}
	return c
}

// merge adds all that another history has.
func (h *history) merge(other *history, now int64) {
	for _, m := range other.seconds {
		var t tally
		t.addEncoded(m.data)
		h.add(m.second, now, &t)
	}
}
