package meter

import (
	"fmt"
	"time"
)

// fill makes leaves and books requests there in each of the last 600 seconds, with waits from 0.2 ms to 200 ms.
func fill(m *Meters, leaves, requests int) []*Leaf {
	now := time.Now()
	all := make([]*Leaf, leaves)
	for i := range all {
		s := testSource
		s.Task = fmt.Sprintf("web-%d", i)
		all[i] = m.Leaf(s)
		for second := range kept {
			at := now.Add(time.Duration(second-kept+1) * time.Second)
			for n := range requests {
				r := okResult
				r.Wait = time.Duration(200+n*n*200_000/(requests*requests)) * time.Microsecond
				all[i].Add(n, &r, at)
			}
		}
	}
	return all
}

func testEntry(l *Leaf) Entry {
	return Entry{
		Time: time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC), ID: "01JD9Z6Y3K8W", Client: "203.0.113.9:40112",
		Method: "GET", Host: "shop.example.com", Path: "/cart/items?token=secret", Proto: "HTTP/1.1",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		Referer:   "https://shop.example.com/cart?session=secret", Leaf: l, Result: okResult,
	}
}
