//go:build linux

package main

import (
	"slices"
	"testing"
)

func TestHeldCommand(t *testing.T) {
	for line, want := range map[string][]string{
		"/dev/.ikada-init\x00hold\x00--\x00sh\x00-c\x00echo -- \"\n\"\x00": {"sh", "-c", "echo -- \"\n\""},
		"/dev/.ikada-init\x00hold\x00--\x00a\x00\x00--\x00\x00":            {"a", "", "--", ""},
		"/dev/.ikada-init\x00hold\x00--\x00":                               nil,
		"sleep\x005\x00":                                                   nil,
		"":                                                                 nil,
	} {
		if got := heldCommand([]byte(line)); !slices.Equal(got, want) {
			t.Errorf("%q holds back %q, want %q", line, got, want)
		}
	}
}
