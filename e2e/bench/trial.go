package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// measure does something once and tells how long its user waited.
type measure func(context.Context) (time.Duration, error)

// trial compares one thing on both sides.
type trial struct {
	what  string
	least float64       // how many times as fast as Docker ikada is to be; 0: no target
	bound time.Duration // how long it may take ikada; 0: no target
	ikada measure
	peer  string // what docker measures
	// docker is nil where there is nothing to compare with.
	docker measure
	apart  bool // all rounds of ikada, then all of Docker: what runs on one side would slow the other
}

// try runs a trial's rounds, the two sides in turns unless they are to be apart, and notes the result.
func (b *bench) try(ctx context.Context, t trial) error {
	if b.docker == nil {
		t.docker = nil
	}
	type side struct {
		name string
		measure
		sample
	}
	sides := [2]side{{"ikada", t.ikada, nil}, {"Docker", t.docker, nil}}
	once := func(s *side, round int) error {
		if s.measure == nil {
			return nil
		}
		d, err := s.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s on %s: %w", t.what, s.name, err)
		}
		progress("%s, round %d: %s %s", t.what, round+1, s.name, seconds(d))
		s.sample = append(s.sample, d)
		return nil
	}
	for i := range 2 * b.rounds {
		s, round := i%2, i/2
		if t.apart {
			s, round = i/b.rounds, i%b.rounds
		}
		if err := once(&sides[s], round); err != nil {
			return err
		}
	}
	b.report.compare(t, sides[0].sample, sides[1].sample)
	return nil
}

// sample is what was measured of one thing.
type sample []time.Duration

// median gives the middle value, of an even number the lower of the two in the middle.
func (s sample) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[(len(sorted)-1)/2]
}

// String gives the median and, in parentheses, least and most.
func (s sample) String() string {
	if len(s) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s (%s–%s)", seconds(s.median()), seconds(slices.Min(s)), seconds(slices.Max(s)))
}

// seconds gives the digits that matter.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
