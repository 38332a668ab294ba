package etcd_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/etcd"
)

// benchmarkUpdate measures a transaction that reads and writes a number of objects of the size of a task, with the
// sync of the disk.
func benchmarkUpdate(b *testing.B, keys int) {
	s := open(b, b.TempDir())
	value := bytes.Repeat([]byte("x"), 500)
	for b.Loop() {
		_, err := s.Update(b.Context(), func(tx store.Tx) error {
			for k := range keys {
				name := key(fmt.Sprint(k))
				if _, _, err := tx.Get(name); err != nil {
					return err
				}
				tx.Put(name, value)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate1(b *testing.B)  { benchmarkUpdate(b, 1) }
func BenchmarkUpdate30(b *testing.B) { benchmarkUpdate(b, 30) }

// BenchmarkPut30 writes thirty objects without reading them.
func BenchmarkPut30(b *testing.B) {
	s := open(b, b.TempDir())
	value := bytes.Repeat([]byte("x"), 500)
	for b.Loop() {
		_, err := s.Update(b.Context(), func(tx store.Tx) error {
			for k := range 30 {
				tx.Put(key(fmt.Sprint(k)), value)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadYourWrite measures a write until a mirror shows it.
func BenchmarkReadYourWrite(b *testing.B) {
	s := open(b, b.TempDir())
	m := store.NewMirror(s, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	<-m.Ready()
	value := bytes.Repeat([]byte("x"), 500)
	for b.Loop() {
		if err := m.Wait(ctx, put(b, s, "a", value)); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen measures how long a store with a thousand objects takes until it answers.
func BenchmarkOpen(b *testing.B) {
	c := etcd.Config{Dir: b.TempDir(), Name: "n1"}
	fill, err := etcd.Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		put(b, fill, fmt.Sprint(i), make([]byte, 2000))
	}
	if err := fill.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := etcd.Open(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
