# frozen_string_literal: true

->(data) { data[:visits] = 0 }
