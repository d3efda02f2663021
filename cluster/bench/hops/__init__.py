"""Where the milliseconds of an idle HTTP request go, hop by hop."""
