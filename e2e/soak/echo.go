package soak

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Echo is a POST to /echo, whose reply must be its body: as long as a form, longer than what a balancer reads at once, or
// in chunks.
func Echo(rng *rand.Rand) *Question {
	length, chunk := 1+rng.IntN(2<<10), 0
	switch rng.IntN(4) {
	case 0:
		length = 20<<10 + rng.IntN(200<<10)
	case 1:
		length, chunk = 1+rng.IntN(100<<10), 1+rng.IntN(30<<10)
	}
	body := make([]byte, length+8)
	for i := 0; i < length; i += 8 {
		binary.LittleEndian.PutUint64(body[i:], rng.Uint64())
	}
	body = body[:length]
	sum := sha256.Sum256(body)
	return &Question{Path: "/echo", Body: body, Chunk: chunk, Check: func(reply []byte) error {
		if got := sha256.Sum256(reply); got != sum {
			return fmt.Errorf("%d bytes with the sum %x came back, %d with %x were sent", len(reply), got[:4], length, sum[:4])
		}
		return nil
	}}
}
