package store

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/ikada/ikada/api"
)

// AddEvent adds an event in a transaction. Without a time it happened now; its ID, which sorts by time, is made here.
func AddEvent(tx Tx, e api.Event) error {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC().Round(0)
	}
	if e.Level == "" {
		e.Level = api.LevelInfo
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	e.ID = eventTime(e.Time) + "-" + hex.EncodeToString(b[:])
	return Put(tx, Events+e.ID, e)
}

// EventKey gives a key before which all keys of earlier events sort.
func EventKey(t time.Time) string { return Events + eventTime(t) }

func eventTime(t time.Time) string { return t.UTC().Format("20060102T150405.000000000") }
