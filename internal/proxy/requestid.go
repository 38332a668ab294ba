package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// requestID names a request in logs, at the target and in the balancer's own answers: what the client gave, else a
// random part for its connection and a number.
type requestID struct {
	own   [40]byte
	base  int // length of the random part
	count uint64
	made  int // length of the number behind it
	given []byte
}

const maxRequestID = 128

func (id *requestID) next(r *http1.Request) {
	id.given = valueOf(r.Fields, http1.XRequestID)
	if n := len(id.given); n > 0 && n <= maxRequestID {
		return
	}
	id.given = nil
	if id.base == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		id.base = hex.Encode(id.own[:], b[:])
		id.own[id.base] = '-'
		id.base++
	}
	id.count++
	id.made = len(strconv.AppendUint(id.own[id.base:id.base], id.count, 36))
}

func (id *requestID) bytes() []byte {
	if id.given != nil {
		return id.given
	}
	return id.own[:id.base+id.made]
}
