# man.awk - makes a manual page of what a program says to --help:
#
#   PROGRAM --help | awk -v name=busbar -v version=0.1.0 -v date=2026-01-31 -f packaging/man.awk
#
# What it knows of the text: it opens with "Name: what it is. More of it.", the usage follows, indented. A line at the margin
# with indented ones below is a heading, and one without is a paragraph, which may begin with "Exit status: ". Below a
# heading a line that is indented by two blanks is a term, with its text after two blanks or more or on deeper lines.
# Headings of which the terms are environment variables come under ENVIRONMENT.

function roff(text) {
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	return text ~ /^[.']/ ? "\\&" text : text
}

function wrapped(text,    words, count, i, out) { # roff joins the lines
	count = split(text, words, " ")
	for (i = 1; i <= count; i++) {
		if (out != "" && length(roff(out " " words[i])) > 79) {
			print roff(out)
			out = ""
		}
		out = out (out == "" ? "" : " ") words[i]
	}
	print roff(out)
}

function is_heading(i) { return line[i] ~ /^[^ ]/ && line[i + 1] ~ /^ / && line[i - 1] == "" }

function paragraph(i) { # from line i on, in one line; sets after
	for (text = ""; i <= n && line[i] ~ /^[^ ]/ && !is_heading(i); i++)
		text = text (text == "" ? "" : " ") line[i]
	after = i
	return text
}

# NAME is one line: of a long sentence what comes before its first bracket or comma, and DESCRIPTION has all of it.
function opening(i,    text, end) {
	description = paragraph(i)
	sub(/^[^:]*: /, "", description)
	end = match(description, /\.( |$)/)
	text = end ? substr(description, 1, end - 1) : description
	if (text == description || text "." == description)
		description = ""
	if (length(name) + length(text) > 74)
		sub(/ \(.*|,.*/, "", text)
	print ".SH NAME"
	print roff(name) " \\- " roff(text)
	print ".SH SYNOPSIS"
}

function item(text,    gap) {
	gap = match(text, /   */)
	print ".TP"
	print ".B " roff(gap ? substr(text, 1, gap - 1) : text)
	if (gap) {
		wrapped(substr(text, gap + RLENGTH))
	}
}

function heading(i,    text) {
	text = line[i]
	sub(/:$/, "", text)
	if (line[i + 1] ~ /^  [A-Z_]+( \(|$)/) {
		if (!environment)
			print ".SH ENVIRONMENT"
		environment = 1
		print ".SS " roff(text)
	} else {
		print ".SH " toupper(roff(text))
	}
}

function notes(i,    text) {
	text = paragraph(i)
	if (text ~ /^Exit status: /) {
		print ".SH EXIT STATUS"
		sub(/^Exit status: /, "", text)
	} else if (environment) {
		print ".SS Values"
	} else {
		print ".SH NOTES"
	}
	wrapped(text)
}

{ line[++n] = $0 }

END {
	printf ".\\\" Made by packaging/man.awk of what %s --help says.\n", name
	printf ".TH %s 1 \"%s\" \"Busbar %s\" \"Busbar\"\n", toupper(roff(name)), date, version
	opening(1)
	for (i = after; i <= n; i = after > i ? after : i + 1) {
		if (line[i] ~ /^  [^ ]/) {
			item(substr(line[i], 3))
		} else if (line[i] ~ /^   /) {
			sub(/^ +/, "", line[i])
			wrapped(line[i])
		} else if (line[i] ~ /^[^ ]/) {
			if (description != "") {
				print ".SH DESCRIPTION"
				wrapped(toupper(substr(description, 1, 1)) substr(description, 2))
				description = ""
			}
			if (is_heading(i))
				heading(i)
			else
				notes(i)
		}
	}
	exit n == 0
}
