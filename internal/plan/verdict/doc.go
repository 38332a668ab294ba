// Package verdict judges a new release by what its requests meet, against the old release: [Judge] takes the seconds of
// both as the balancer counted them and says pass, fail or insufficient, with a sentence and the numbers.
//
// It asks for no set-up, and is made to be asked every second: its tests hold their error rate however often one looks.
// Failures and latency are judged by bets whose capital bounds the chance of a false alarm (purse), with what is
// tolerated built into what counts as harmless: so an old release that is as bad never fails a new one, nor does a
// difference that nobody minds, however many requests show it. Where both releases serve at the same time they are compared
// block by block, so that what hits both cancels out; where the old one has gone, its last minutes are the baseline and
// more is asked for. Crashes, kills for memory and exits before ready count at once. No traffic is never a failure.
//
// docs/verdicts.md explains the tests, with sources, and has the error rates and detection times that were measured.
//
// The package is pure: no I/O, no clock, no random source; Judge is safe for concurrent use. Start at [Judge].
package verdict
