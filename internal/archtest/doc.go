// Package archtest holds the repository to its architecture: who may import whom and why, which libraries stay behind
// which package, that planners are pure, that packages say what they are, and the size and the words of the code.
//
// It is tests only and owns no code of the product. A rule that is in the way is changed in its table, with its reason,
// not worked around. Start at TestImports and the table above it.
package archtest
