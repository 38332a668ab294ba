package remote

import (
	"fmt"

	"github.com/ikada/ikada/api"
)

// change says how a table comes of the one before: of a big one most stays as it is.
type change struct {
	Version   uint64                `json:"version"`
	Listeners []piece[api.Listener] `json:"listeners,omitempty"`
	Routes    []piece[api.Route]    `json:"routes,omitempty"`
	Pools     []piece[api.Pool]     `json:"pools,omitempty"`
	Inside    []piece[api.Inside]   `json:"inside,omitempty"`
	Leaving   []string              `json:"leaving,omitempty"`
}

// piece is a part of a list: items of the list before, and after them new ones.
type piece[T any] struct {
	From int `json:"from,omitempty"`
	Keep int `json:"keep,omitempty"` // so many, from From on
	New  []T `json:"new,omitempty"`
}

func changeOf(old, next *api.RouteTable) *change {
	type place struct{ host, path, pool string }
	return &change{
		Version: next.Version,
		Listeners: pieces(old.Listeners, next.Listeners,
			func(l *api.Listener) api.Listener { return *l }, func(a, b *api.Listener) bool { return *a == *b }),
		Routes: pieces(old.Routes, next.Routes,
			func(r *api.Route) place { return place{r.Host, r.Path, r.Pool} }, (*api.Route).Equal),
		Pools: pieces(old.Pools, next.Pools,
			func(p *api.Pool) string { return p.Name }, (*api.Pool).Equal),
		Inside: pieces(old.Inside, next.Inside,
			func(s *api.Inside) string { return s.Address }, (*api.Inside).Equal),
		Leaving: next.Leaving,
	}
}

// pieces makes a list out of an old one. By its key an item is found again where the order has changed; items that
// share one cost room and nothing else.
func pieces[T any, K comparable](old, next []T, key func(*T) K, equal func(a, b *T) bool) (all []piece[T]) {
	var places map[K]int // in old
	at := 0              // in old, of what probably comes next
	for i := 0; i < len(next); {
		p := piece[T]{From: at}
		for i < len(next) && at < len(old) && equal(&next[i], &old[at]) {
			p.Keep++
			i++
			at++
		}
		for ; i < len(next); i++ {
			if places == nil {
				places = make(map[K]int, len(old))
				for j := range old {
					places[key(&old[j])] = j
				}
			}
			if j, ok := places[key(&next[i])]; ok {
				if at = j; equal(&next[i], &old[j]) {
					break
				}
				at++
			}
			p.New = append(p.New, next[i])
		}
		if p.Keep > 0 || len(p.New) > 0 {
			all = append(all, p)
		}
	}
	return all
}

// of gives the table that the change makes of base, which shares with it what stays.
func (c *change) of(base *api.RouteTable) (*api.RouteTable, error) {
	t := &api.RouteTable{Version: c.Version, Leaving: c.Leaving}
	var err error
	if t.Listeners, err = join("listeners", base.Listeners, c.Listeners); err != nil {
		return nil, err
	}
	if t.Routes, err = join("routes", base.Routes, c.Routes); err != nil {
		return nil, err
	}
	if t.Pools, err = join("pools", base.Pools, c.Pools); err != nil {
		return nil, err
	}
	t.Inside, err = join("inside", base.Inside, c.Inside)
	return t, err
}

func join[T any](name string, old []T, all []piece[T]) ([]T, error) {
	var out []T
	for i, p := range all {
		if p.From < 0 || p.From > len(old) || p.Keep < 0 || p.Keep > len(old)-p.From {
			return nil, api.FieldError(fmt.Sprintf("%s[%d]", name, i), fmt.Sprintf("%d items from %d on", p.Keep, p.From),
				fmt.Sprintf("a part of %d items", len(old)))
		}
		out = append(append(out, old[p.From:p.From+p.Keep]...), p.New...)
	}
	return out, nil
}
