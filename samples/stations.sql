-- Tables of the measurement archive, and the query behind the monthly wind report.

CREATE TABLE station (
    code      CHAR(3) PRIMARY KEY,
    harbour   TEXT NOT NULL,
    height_m  REAL NOT NULL,
    has_tide  BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE wind (
    station   CHAR(3) REFERENCES station (code),
    at        TIMESTAMPTZ NOT NULL,
    mean_ms   REAL,
    gust_ms   REAL,
    PRIMARY KEY (station, at)
);

-- Strongest gust and number of gale hours for each harbour in the last month.
SELECT s.harbour,
       MAX(w.gust_ms)                              AS strongest_gust,
       COUNT(*) FILTER (WHERE w.mean_ms >= 17.2) / 6.0 AS gale_hours
FROM wind AS w
JOIN station AS s ON s.code = w.station
WHERE w.at >= date_trunc('month', now()) - INTERVAL '1 month'
GROUP BY s.harbour
ORDER BY strongest_gust DESC;
