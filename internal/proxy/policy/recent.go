package policy

// recent remembers what was used of late, in bounded memory, and forgets the rest without ever looking for it: entries
// live in the younger of two maps; what is used moves there; when the younger has lived its time or is full, it becomes
// the older, and what the older had is gone.
//
// An entry stays for at least life after its last use, unless more than most others come in that time. It holds at most
// twice most entries. Times are in nanoseconds from any moment. It is for one goroutine at a time.
type recent[K comparable, V any] struct {
	most   int
	life   int64
	young  map[K]V
	old    map[K]V
	turned int64 // when young was begun
}

func (r *recent[K, V]) get(key K, now int64) (value V, ok bool) {
	r.turn(now)
	if value, ok = r.young[key]; ok {
		return value, true
	}
	if value, ok = r.old[key]; ok {
		r.young[key] = value
	}
	return value, ok
}

func (r *recent[K, V]) put(key K, value V, now int64) {
	r.turn(now)
	r.young[key] = value
}

func (r *recent[K, V]) turn(now int64) {
	age := now - r.turned
	if r.young != nil && age < r.life && len(r.young) < r.most {
		return
	}
	r.old = r.young
	if age >= 2*r.life {
		r.old = nil
	}
	r.young, r.turned = map[K]V{}, now
}
