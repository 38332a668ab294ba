package meter

import (
	"slices"
	"sort"
	"time"
)

// kept is how many seconds back a history goes.
const kept = 600

// history is the last ten minutes of something, a tally for each second in which anything happened. A busy leaf's
// takes 75 KB, a quiet one's next to nothing: 56 bytes and up for each second with a request.
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
		m.data = sum.append(m.data[:0])
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

// trim drops what is too old, and what the clock has been set back from. It gives the memory of a dropped second.
func (h *history) trim(now int64) (spare []byte) {
	old := 0
	for old < len(h.seconds) && h.seconds[old].second <= now-kept {
		old++
	}
	end := len(h.seconds)
	for end > old && h.seconds[end-1].second > now+1 {
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

// each calls do for every second from since to now, oldest first. The tally is do's until it returns.
func (h *history) each(since, now int64, do func(second int64, t *tally)) {
	since = max(since, now-kept+1)
	for _, m := range h.seconds {
		if m.second < since || m.second > now+1 {
			continue
		}
		var t tally
		t.addEncoded(m.data)
		do(m.second, &t)
	}
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
	other.each(0, now, func(second int64, t *tally) { h.add(second, now, t) })
}

// sinceUnix is the first whole second that a reader who asks for a time means.
func sinceUnix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
