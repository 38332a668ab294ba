package api

import "time"

// Verdict is what a release's requests and tasks have said of one of its services, beside the release before.
type Verdict struct {
	Service string    `json:"service"`
	Result  string    `json:"result"` // VerdictPass, VerdictFail, VerdictInsufficient
	Reason  string    `json:"reason"` // one sentence, with the numbers
	At      time.Time `json:"at"`
}

// The results of a Verdict.
const (
	VerdictPass         = "pass"         // enough was seen, and nothing wrong in it
	VerdictFail         = "fail"         // the release does harm
	VerdictInsufficient = "insufficient" // there is not enough to tell: the release is unverified
)
