package store

import "slices"

// index keeps objects in sorted groups. A change replaces the group's slice, so one that was handed out stays as it
// was.
type index[G comparable, V any] struct {
	groups map[G][]*V
	order  func(a, b *V) int // 0 only for the same object
}

func newIndex[G comparable, V any](order func(a, b *V) int) index[G, V] {
	return index[G, V]{groups: map[G][]*V{}, order: order}
}

// put adds v to a group, in place of the object that it equals in order.
func (x index[G, V]) put(group G, v *V) {
	old := x.groups[group]
	i, found := slices.BinarySearchFunc(old, v, x.order)
	next := make([]*V, 0, len(old)+1)
	next = append(append(next, old[:i]...), v)
	if found {
		i++
	}
	x.groups[group] = append(next, old[i:]...)
}

// drop takes the object that equals v in order from a group.
func (x index[G, V]) drop(group G, v *V) {
	old := x.groups[group]
	i, found := slices.BinarySearchFunc(old, v, x.order)
	switch {
	case !found:
	case len(old) == 1:
		delete(x.groups, group)
	default:
		x.groups[group] = slices.Concat(old[:i], old[i+1:])
	}
}
